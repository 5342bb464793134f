"""What replicas use of CPU and memory, served as metrics.k8s.io: what a kubelet and metrics-server would tell.

Owns the reading of processes and the form of the answers. Knows neither pods' numbers nor who asks.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import uvicorn
from fastapi import FastAPI

from stack.layout import LOOPBACK

WINDOW_S = 5.0  # CPU time is a rate over this
BEGIN_TIMEOUT_S = 10.0
GROUP = "metrics.k8s.io/v1beta1"


@dataclass(frozen=True)
class PodUsage:
    """What one pod uses: cores over the last seconds, and bytes."""

    name: str
    namespace: str
    container: str
    at: datetime
    cores: float
    resident_bytes: int

    def document(self) -> dict[str, Any]:
        """A PodMetrics."""
        usage = {"cpu": f"{round(self.cores * 1e9)}n", "memory": f"{self.resident_bytes // 1024}Ki"}
        return {
            "metadata": {"name": self.name, "namespace": self.namespace, "labels": {"app": self.container}},
            "timestamp": self.at.isoformat(timespec="seconds").replace("+00:00", "Z"),
            "window": f"{WINDOW_S:g}s",
            "containers": [{"name": self.container, "usage": usage}],
        }


class Meter:
    """Reads processes, each by a number of the caller's, and tells their rates."""

    def __init__(self) -> None:
        self._read: dict[tuple[int, int], deque[tuple[float, float, int]]] = {}

    def read(self, pids: Mapping[int, int]) -> None:
        """Take a reading of each; what is not named any more is forgotten."""
        wanted = set(pids.items())
        self._read = {key: seen for key, seen in self._read.items() if key in wanted}
        now = time.monotonic()
        for key in wanted:
            try:
                process = psutil.Process(key[1])
                times, memory = process.cpu_times(), process.memory_info().rss
            except psutil.Error:
                continue
            seen = self._read.setdefault(key, deque())
            seen.append((now, times.user + times.system, memory))
            while len(seen) > 2 and now - seen[1][0] >= WINDOW_S:
                seen.popleft()

    def figures(self, number: int) -> tuple[float, int] | None:
        """Cores and resident bytes; None until it was read twice."""
        for (known, _), seen in self._read.items():
            if known == number and len(seen) > 1:
                (first_s, first_cpu_s, _), (last_s, last_cpu_s, memory) = seen[0], seen[-1]
                return (last_cpu_s - first_cpu_s) / (last_s - first_s), memory
        return None


def build_app(usage: Callable[[], list[PodUsage]]) -> FastAPI:
    """The API of the group, as far as an autoscaler asks for it."""
    app = FastAPI(openapi_url=None)

    @app.get(f"/apis/{GROUP}")
    def describe() -> dict[str, Any]:
        pods = {"name": "pods", "singularName": "", "namespaced": True, "kind": "PodMetrics", "verbs": ["get", "list"]}
        return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": GROUP, "resources": [pods]}

    @app.get(f"/apis/{GROUP}/namespaces/{{namespace}}/pods")
    def list_pods(namespace: str) -> dict[str, Any]:
        items = [each.document() for each in usage() if each.namespace == namespace]
        return {"kind": "PodMetricsList", "apiVersion": GROUP, "metadata": {}, "items": items}

    return app


@contextmanager
def serving(app: FastAPI, port: int, certificate: Path, key: Path) -> Iterator[None]:
    """Serve on loopback for the length of the block, in a thread of its own."""
    config = uvicorn.Config(
        app,
        host=LOOPBACK,
        port=port,
        ssl_certfile=str(certificate),
        ssl_keyfile=str(key),
        log_level="error",
        lifespan="off",
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="usage", daemon=True)
    thread.start()
    deadline = time.monotonic() + BEGIN_TIMEOUT_S
    while not server.started and thread.is_alive() and time.monotonic() < deadline:
        time.sleep(0.02)
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(BEGIN_TIMEOUT_S)
