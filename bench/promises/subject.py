"""The process that is measured: an application behind the door, in a process of its own, under uvicorn.

An ordinary route, two that tell far more than a request should (wide spans, wide lines, to fill a buffer within
seconds), and one that answers as it is asked to. Owns the application and its life; knows nothing of promises.
"""

from __future__ import annotations

import http.client
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import httpx
import psutil
from fastapi import FastAPI, Response

from bench.ports import free_port

METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"]
ROOT = Path(__file__).parents[2]
WIDE = "x" * 4000
AT_ONCE = 100  # wide spans, or lines, that one request makes


def build_app() -> FastAPI:
    """The application; the environment says where its collector is."""
    from service import telemetry

    app = FastAPI()
    log = telemetry.logger("subject")

    @app.get("/things/{thing_id}")
    async def read_thing(thing_id: int) -> int:
        return thing_id

    @app.get("/spans")
    async def make_spans() -> None:
        for number in range(AT_ONCE):
            with telemetry.span("wide", attributes={"number": number, "text": WIDE}):
                pass

    @app.get("/lines")
    async def make_lines() -> None:
        for _ in range(AT_ONCE):
            log.info(WIDE)

    @app.api_route("/status/{code}", methods=METHODS)
    async def answer(code: int) -> Response:
        return Response(status_code=code)

    telemetry.instrument(app, service_name="subject", flush_s=2.0)
    return app


class Subject:
    """A running subject: one connection to it, its counters, its memory."""

    def __init__(self, popen: subprocess.Popen[bytes], port: int) -> None:
        self.popen = popen
        self.port = port
        self._process = psutil.Process(popen.pid)
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def get(self, path: str) -> tuple[int, float]:
        """``(status, seconds)`` of one request; status 0 when there was no answer."""
        started = time.perf_counter()
        try:
            self._connection.request("GET", path)
            answer = self._connection.getresponse()
            answer.read()
            return answer.status, time.perf_counter() - started
        except (OSError, http.client.HTTPException):
            self._connection.close()
            return 0, time.perf_counter() - started

    def flood(self, path: str, of_bytes: int) -> int:
        """Make it tell at least so much by ``/spans`` or ``/lines``; returns how many of the requests failed."""
        return sum(self.get(path)[0] != 200 for _ in range(of_bytes // (AT_ONCE * len(WIDE)) + 1))

    def metrics(self) -> str:
        """Its exposition."""
        return httpx.get(f"http://127.0.0.1:{self.port}/metrics", timeout=30).text

    def counted(self, signal: str) -> dict[str, int]:
        """Produced, exported and dropped of a signal, and ``pending``: what is in none of the two yet."""
        text = self.metrics()
        found = {}
        for name in ("produced", "exported", "dropped"):
            samples = re.findall(
                rf'^telemetry_{name}_total{{[^}}]*signal="{signal}"[^}}]*}} (\S+)$', text, re.MULTILINE
            )
            found[name] = int(sum(map(float, samples)))
        return found | {"pending": found["produced"] - found["exported"] - found["dropped"]}

    def settled(self, signal: str, within_s: float = 60.0) -> dict[str, int]:
        """``counted`` once nothing is pending and nothing new has come for a second, or after ``within_s``."""
        deadline = time.monotonic() + within_s
        last, since = self.counted(signal), time.monotonic()
        while time.monotonic() < deadline:
            time.sleep(0.1)
            found = self.counted(signal)
            if found["pending"] or found != last:
                last, since = found, time.monotonic()
            elif time.monotonic() - since > 1.0:
                break
        return last

    def memory(self) -> int:
        """Bytes that are its own: resident, less what it shares."""
        return int(self._process.memory_full_info().uss)


@contextmanager
def running(otlp_url: str, stdout: IO[bytes] | int, **environment: str) -> Iterator[Subject]:
    """A subject that serves, sending spans to ``otlp_url`` and lines to ``stdout``."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "bench.promises.subject:build_app", "--factory", "--port", str(port)]
    command += ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"]
    command += ["--timeout-keep-alive", "600"]  # a connection waits while its neighbours are flooded
    variables = {**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": otlp_url, **environment}
    with subprocess.Popen(command, cwd=ROOT, stdout=stdout, env=variables) as popen:
        try:
            subject = Subject(popen, port)
            deadline = time.monotonic() + 60
            while subject.get("/things/0")[0] != 200:
                if time.monotonic() > deadline or popen.poll() is not None:
                    raise RuntimeError("the subject does not start")
                time.sleep(0.05)
            yield subject
        finally:
            popen.terminate()
            try:
                popen.wait(15)
            except subprocess.TimeoutExpired:
                popen.kill()
