"""The processes that are measured: replicas of the service, or of the plain variant, behind a gateway of their own.

They use the running stack's data. Owns starting, reading and ending them, and the CPU time of what stands behind them.
Knows nothing of load.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from bench.ports import free_port
from bench.ready import await_ready
from bench.service.people import sign_people_in

ROOT = Path(__file__).parent.parent.parent
BEHIND = ("postgres", "postgres-replica", "valkey", "payments", "worker", "collector")
SERVERS, GATEWAY = "servers", "gateway"


class NotUp(Exception):
    """The stack does not run, or a server did not start."""


@dataclass(frozen=True)
class Variant:
    """One way of doing it: a program to run, and the ``switches`` of the plain one."""

    name: str
    switches: tuple[str, ...] = ()
    program: tuple[str, ...] = ("bench.service.naive",)


SERVICE = Variant("service", program=("service", "api"))
PLAIN = Variant("plain")
# The plain one with one improvement each; and with all four that are switches, which leaves the asynchronous one.
STEPS = (
    *(Variant(f"plain + {name}", (name,)) for name in ("pool", "joins", "cache", "replica")),
    Variant("plain + async", program=("bench.service.naive_async",)),
)
ALL_STEPS = Variant("plain + all four", ("pool", "joins", "cache", "replica"))


class Server:
    """One process, at a port of its own that a successor can take over."""

    def __init__(self, variant: Variant, environment: dict[str, str], number: int = 1) -> None:
        self.variant = variant
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._command = [sys.executable, "-m", *variant.program, "--port", str(self.port)]
        self._environment = {
            **environment,
            "SIGNALBOX_INSTANCE": f"bench-{number}",
            "SIGNALBOX_SIGN_IN": "required",  # the plain one asks nobody
            "NAIVE": ",".join(variant.switches),
        }
        self.start()

    def start(self) -> None:
        """Start it; returns before it is ready."""
        self.process = subprocess.Popen(
            self._command, cwd=ROOT, env=self._environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def await_ready(self) -> None:
        """Return when it answers. Raises NotUp."""
        if not await_ready(self.process, self.url):
            raise NotUp(f"{self.variant.name} did not start")

    def leave(self) -> None:
        """SIGTERM, and wait for it to be gone."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=60)

    def cpu_s(self) -> float:
        """User and system time, in steps of 10 ms, of threads that ended as well: plain servers start and end many."""
        times = psutil.Process(self.process.pid).cpu_times()
        return times.user + times.system


@dataclass(frozen=True)
class Fleet:
    """Replicas of one variant, and the gateway at whose ``url`` they are asked."""

    url: str
    servers: Sequence[Server]
    gateway: psutil.Process

    def cpu_s(self) -> dict[str, float]:
        """Of the replicas together, and of the gateway."""
        times = self.gateway.cpu_times()
        return {SERVERS: sum(server.cpu_s() for server in self.servers), GATEWAY: times.user + times.system}


@contextmanager
def running(behind: Behind, variant: Variant, count: int = 1) -> Iterator[Fleet]:
    """So many replicas behind the stack's own gateway once more, ready. Raises NotUp."""
    servers = [Server(variant, behind.environment, number) for number in range(1, count + 1)]
    try:
        for server in servers:
            server.await_ready()
        with _gateway(behind, servers) as (url, process):
            yield Fleet(url, servers, process)
    finally:
        for server in servers:
            server.process.kill()
            server.process.wait()


@contextmanager
def _gateway(behind: Behind, servers: Sequence[Server]) -> Iterator[tuple[str, psutil.Process]]:
    port = free_port()
    environment = {
        **behind.gateway.environ(),
        "SIGNALBOX_PORT_GATEWAY": str(port),
        "SIGNALBOX_PORT_GATEWAY_METRICS": str(free_port()),
        "SIGNALBOX_ADMIN": "off",
        "SIGNALBOX_API_UPSTREAMS": " ".join(f"127.0.0.1:{server.port}" for server in servers),
    }
    url, quiet = f"http://127.0.0.1:{port}", subprocess.DEVNULL
    process = subprocess.Popen(behind.gateway.cmdline(), cwd=ROOT, env=environment, stdout=quiet, stderr=quiet)
    try:
        for _ in range(100):
            with suppress(httpx.HTTPError):
                if httpx.get(f"{url}/v1/products/11", timeout=2).status_code == 200:
                    break
            time.sleep(0.1)
        else:
            raise NotUp("the gateway did not start")
        yield url, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


class Behind:
    """The running stack. CPU time is of the parts that the servers use; they are shared by whoever else uses it."""

    def __init__(self) -> None:
        status = subprocess.run(
            [sys.executable, "-m", "stack", "status", "--json"], capture_output=True, cwd=ROOT, check=False
        )
        parts = json.loads(status.stdout)["components"] if status.stdout.startswith(b"{") else []
        pids = {part["name"]: part["pid"] for part in parts if part["pid"]}
        if "api-1" not in pids:
            raise NotUp("the stack is not up. Run `make up` first")
        self.environment = {**psutil.Process(pids["api-1"]).environ(), "PYTHONPATH": os.fspath(ROOT)}
        self.gateway = psutil.Process(pids["gateway"])
        self.people = sign_people_in(self.environment["SIGNALBOX_ISSUER_URL"])
        self._pids = {name: pids[name] for name in BEHIND}

    def cpu_s(self) -> dict[str, float]:
        """By part, children included (a connection of PostgreSQL is a process, so one that ended is missing)."""
        seen = {}
        for name, pid in self._pids.items():
            parent = psutil.Process(pid)
            total = 0.0
            for child in parent.children(recursive=True):
                with suppress(psutil.NoSuchProcess):  # between being listed and being asked
                    total += sum(child.cpu_times()[:2])
            # asked last: what ended children used is in their parent's account
            seen[name] = total + sum(parent.cpu_times()[:4])
        return seen
