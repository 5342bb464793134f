"""Delivery under bad conditions, against real sockets and pipes: nobody waits, nothing is lost uncounted."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from service import telemetry
from service.telemetry import Telemetry, build_telemetry, otlp
from service.telemetry.export import MAX_REQUEST_BYTES, SpanExporter
from service.telemetry.instruments import Instruments
from service.telemetry.lines import LineWriter
from service.telemetry.pace import Ticker
from service.telemetry.testing import former_door

SPAN = otlp.SpanShape("n", 1).encode(b"t" * 16, b"s" * 8, b"", 1, 2)


class Collector:
    """A real OTLP/HTTP receiver that answers as it is told and counts the spans it accepted."""

    def __init__(self, port: int = 0) -> None:
        self.answers: list[tuple[int, int]] = []
        self.spans = 0
        self.sizes: list[int] = []
        self.connections: list[socket.socket] = []
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                owner.connections.append(self.connection)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                owner.sizes.append(len(body))
                request = ExportTraceServiceRequest.FromString(body)
                count = sum(len(s.spans) for r in request.resource_spans for s in r.scope_spans)
                status, rejected = owner.answers.pop(0) if owner.answers else (200, 0)
                owner.spans += count - rejected if status == 200 else 0
                partial = ExportTracePartialSuccess(rejected_spans=rejected)
                answer = ExportTraceServiceResponse(partial_success=partial if rejected else None).SerializeToString()
                self.send_response(status)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


def counted(instruments: Instruments, name: str, **labels: str) -> float:
    families = instruments.registry.collect()
    return sum(
        sample.value
        for family in families
        for sample in family.samples
        if sample.name == f"telemetry_{name}_total" and all(sample.labels.get(k) == v for k, v in labels.items())
    )


def eventually(what: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.01)


def exporter_to(port: int, instruments: Instruments, **more: float) -> SpanExporter:
    made = SpanExporter(f"http://127.0.0.1:{port}", {"service.name": "x"}, instruments, **more)  # type: ignore[arg-type]
    made.start()
    return made


def balance(instruments: Instruments, signal: str = "spans") -> float:
    """Produced less exported less dropped: what is still under way, 0 at rest."""
    produced, exported, dropped = (counted(instruments, n, signal=signal) for n in ("produced", "exported", "dropped"))
    return produced - exported - dropped


def test_spans_arrive_and_are_counted(collector: Collector) -> None:
    instruments = Instruments()
    exporter = exporter_to(collector.port, instruments)
    for _ in range(100):
        exporter.put(SPAN * 3, 3)
    assert exporter.flush(5)
    assert collector.spans == counted(instruments, "exported") == 300
    assert balance(instruments) == 0


def test_what_may_succeed_is_tried_again_and_what_may_not_is_dropped(collector: Collector) -> None:
    instruments = Instruments()
    collector.answers = [(503, 0), (429, 0), (200, 0)]
    exporter = exporter_to(collector.port, instruments)
    exporter.put(SPAN, 1)
    assert exporter.flush(5)
    assert collector.spans == 1
    collector.answers = [(400, 0)]
    exporter.put(SPAN * 2, 2)
    assert exporter.flush(5)
    collector.answers = [(200, 1)]
    exporter.put(SPAN * 5, 5)
    assert exporter.flush(5)
    assert counted(instruments, "dropped", reason="rejected") == 3
    assert collector.spans == counted(instruments, "exported") == 5
    assert balance(instruments) == 0


def test_a_collector_that_comes_back_gets_what_was_kept() -> None:
    first = Collector()
    instruments = Instruments()
    exporter = exporter_to(first.port, instruments)
    exporter.put(SPAN, 1)
    assert exporter.flush(5)
    first.close()
    for _ in range(50):
        exporter.put(SPAN, 1)
    time.sleep(0.3)
    second = Collector(first.port)
    try:
        assert exporter.flush(10)
        assert second.spans == 50
        assert balance(instruments) == 0
    finally:
        second.close()


def test_a_black_hole_costs_memory_up_to_the_bound_and_never_blocks() -> None:
    hole = socket.create_server(("127.0.0.1", 0))
    instruments = Instruments()
    exporter = exporter_to(hole.getsockname()[1], instruments, max_bytes=100_000, timeout_s=0.3)
    slowest = 0.0
    for _ in range(10_000):
        start = time.perf_counter()
        exporter.put(SPAN, 1)
        slowest = max(slowest, time.perf_counter() - start)
    assert slowest < 0.25
    assert exporter._bytes <= 100_000
    start = time.monotonic()
    exporter.stop(0.5)
    assert time.monotonic() - start < 2
    eventually(lambda: balance(instruments) == 0)
    assert counted(instruments, "exported") == 0
    hole.close()


def test_a_stalled_stdout_blocks_nobody_and_its_lines_are_counted() -> None:
    read, write = os.pipe()
    instruments = Instruments()
    writer = LineWriter(instruments, write, max_bytes=50_000)
    ticker = Ticker(writer.pace.tick)
    writer.start()
    ticker.start()
    line = b"x" * 99 + b"\n"
    slowest = 0.0
    for _ in range(5_000):  # 500 kB into a pipe of 64 kB that nobody reads and a buffer of 50 kB
        start = time.perf_counter()
        writer.put(line)
        slowest = max(slowest, time.perf_counter() - start)
    assert slowest < 0.05 * 5
    dropped = counted(instruments, "dropped", signal="logs")
    assert dropped > 3_000
    received = bytearray()
    while len(received) < (5_000 - dropped) * 100:
        received += os.read(read, 65536)
    eventually(lambda: balance(instruments, "logs") == 0)
    assert bytes(received) == line * int(5_000 - dropped)
    ticker.stop()
    writer.stop(1)
    os.close(read)


def test_a_closed_stdout_is_counted_not_raised() -> None:
    read, write = os.pipe()
    os.close(read)
    instruments = Instruments()
    writer = LineWriter(instruments, write)
    writer.start()
    writer.put(b"lost\n")
    assert writer.flush(5)
    assert counted(instruments, "dropped", reason="write_failed") == 1
    assert balance(instruments, "logs") == 0


def test_a_forked_process_tells_its_own_and_nothing_of_its_parents(collector: Collector) -> None:
    with former_door():
        read, write = os.pipe()
        made = build_telemetry(
            service_name="forked",
            service_version="0",
            instance_id="1",
            environment="development",
            otlp_url=f"http://127.0.0.1:{collector.port}",
            line_fd=write,
        )
        asyncio.run(_start(made))
        with made.exporter._lock:  # a thread of the parent may hold a lock at that moment
            telemetry.event("parent.before")
            child = os.fork()
            if child == 0:
                with telemetry.span("child"):
                    telemetry.event("child.says")
                made.stop(5)
                settled = balance(made.instruments) == balance(made.instruments, "logs") == 0
                os._exit(0 if settled and counted(made.instruments, "exported", signal="spans") == 1 else 1)
        with telemetry.span("parent"):
            telemetry.event("parent.says")
        assert os.waitpid(child, 0)[1] == 0
        made.stop(5)
    os.close(write)
    said = sorted(json.loads(line)["message"] for line in os.read(read, 1 << 16).splitlines())
    assert said == ["child.says", "parent.before", "parent.says"]
    assert collector.spans == 2


async def _start(made: Telemetry) -> None:
    made.start()


def test_a_request_is_bounded_in_bytes_as_collectors_want_it(collector: Collector) -> None:
    instruments = Instruments()
    exporter = SpanExporter(f"http://127.0.0.1:{collector.port}", {}, instruments)
    wide = otlp.SpanShape("n", 1, {"text": "x" * 4000}).encode(b"t" * 16, b"s" * 8, b"", 1, 2)
    for _ in range(50):
        exporter.put(wide * 100, 100)
    exporter.start()
    assert exporter.flush(20)
    assert collector.spans == 5000
    assert max(collector.sizes) < 2 * MAX_REQUEST_BYTES
    assert len(collector.sizes) >= 5
