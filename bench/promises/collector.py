"""A real OpenTelemetry Collector of one's own, and what can happen to it.

Owns its life (start, kill, stop, go on) and the listeners that stand in for it on its port: one that accepts and never
answers, one that resets. What it has received is read from what it printed of every span before it acknowledged it.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from bench.ports import free_port
from stack.backends.resolve import resolve

_CONFIG = """
receivers: {otlp: {protocols: {http: {endpoint: "127.0.0.1:%d"}}}}
exporters: {debug: {verbosity: detailed, use_internal_logger: false}}
service:
  telemetry: {logs: {level: error}, metrics: {level: none}}
  pipelines: {traces: {receivers: [otlp], exporters: [debug]}}
"""
_SPAN_ID = re.compile(rb"^    ID             : ([0-9a-f]{16})$", re.MULTILINE)
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER of zero seconds: close() sends RST


def find_binary() -> Path:
    """The collector that the stack runs. Raises ``stack.backends.resolve.Absent``, which says what to do."""
    return resolve("collector", allow_network=False).main


class Collector:
    """One collector process on one port; it may be killed and started again."""

    def __init__(self, binary: Path, folder: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._binary = binary
        self._printed = folder / "collector.out"
        self._config = folder / "collector.yaml"
        self._config.write_text(_CONFIG % self.port)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, within_s: float = 20.0) -> None:
        """Start it and wait until it takes spans."""
        with self._printed.open("ab") as out:
            self._process = subprocess.Popen(
                [str(self._binary), "--config", str(self._config)], stdout=out, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + within_s
        while True:
            try:
                answer = httpx.post(
                    f"{self.url}/v1/traces", content=b"", headers={"content-type": "application/x-protobuf"}
                )
                if answer.status_code == 200:
                    return
            except httpx.TransportError:
                pass
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise RuntimeError(f"the collector does not answer: {self._printed.read_bytes()[-500:]!r}")
            time.sleep(0.05)

    def signal(self, number: int) -> None:
        if self._process is not None and self._process.poll() is None:
            os.kill(self._process.pid, number)

    def kill(self) -> None:
        """End it as a power cut would."""
        self.signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()
            self._process = None

    def received(self) -> tuple[int, int]:
        """``(spans printed, different span ids among them)``: a span that is sent twice counts twice in the first."""
        ids = _SPAN_ID.findall(self._printed.read_bytes())
        return len(ids), len(set(ids))


# What can happen to it. Inside each, the collector is gone in one way; on leaving it is back.


@contextmanager
def killed(collector: Collector) -> Iterator[None]:
    collector.kill()
    yield
    collector.start()


@contextmanager
def stopped(collector: Collector) -> Iterator[None]:
    """Its sockets accept, for the kernel does that; nothing answers."""
    collector.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        collector.signal(signal.SIGCONT)


@contextmanager
def black_holed(collector: Collector) -> Iterator[None]:
    """Somebody else listens there, takes every byte and never answers."""
    with _stand_in(collector, reset=False):
        yield


@contextmanager
def resetting(collector: Collector) -> Iterator[None]:
    """Somebody else listens there and resets every connection once it has sent something."""
    with _stand_in(collector, reset=True):
        yield


FAULTS = {"killed": killed, "stopped": stopped, "black hole": black_holed, "resetting": resetting}


@contextmanager
def _stand_in(collector: Collector, *, reset: bool) -> Iterator[None]:
    collector.kill()
    listener = socket.create_server(("127.0.0.1", collector.port))
    taken: list[socket.socket] = []
    closing = threading.Event()

    def serve(connection: socket.socket) -> None:
        while not closing.is_set():
            try:
                if not connection.recv(1 << 16):
                    return
            except OSError:
                return
            if reset:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                connection.close()
                return

    def accept() -> None:
        while not closing.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            taken.append(connection)
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield
    finally:
        closing.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for connection in taken:
            connection.close()
        collector.start()
