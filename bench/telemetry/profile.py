"""``python -m bench.telemetry.profile``: what of a request's telemetry costs how much, before and after.

One process, no network: an empty FastAPI route is called over and over, bare, with the stock wiring and with the door,
whole and without the part that is done later. CPU time of all threads, interleaved, medians. What such a loop leaves
out (cold caches, sockets, deliveries) is in ``bench.telemetry``; what it is good for is to see a change of a
microsecond. ``--functions`` prints where the time goes, function by function.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import io
import json
import logging
import pstats
import statistics
import time
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from rich.console import Console
from rich.table import Table

from service.telemetry import instrument
from service.telemetry.telemetry import Telemetry

CALLS, ROUNDS = 2_000, 15
_OFF: Any = {"tracing": False, "metrics": False, "logs": False, "operation_spans": False}


class EncodeOnly(SpanExporter):
    """The stock exporter's encoding without its delivery."""

    def export(self, spans: Any) -> SpanExportResult:
        encode_spans(spans).SerializeToString()
        return SpanExportResult.SUCCESS


def build(wire: Callable[[FastAPI], object] = lambda app: None) -> FastAPI:
    """An application with one empty route, wired or not."""
    app = FastAPI(telemetry=_OFF)

    @app.get("/empty")
    async def empty() -> dict[str, bool]:
        return {"ok": True}

    wire(app)
    return app


def wire_stock(app: FastAPI) -> None:
    """As ``bench.telemetry.stock``, with lines that are formatted and thrown away."""
    from bench.telemetry import stock

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(EncodeOnly()))
    stock.instrument_app(app)
    FastAPIInstrumentor.uninstrument_app(app)
    FastAPIInstrumentor.instrument_app(app, tracer_provider=provider)
    for handler in logging.getLogger("access").handlers:
        handler.setStream(io.StringIO())  # type: ignore[attr-defined]


def wire_door(app: FastAPI) -> Telemetry:
    """The door, whose lines and spans are made and thrown away."""
    made = instrument(app, service_name="profiled")
    made.exporter.put = lambda chunk, spans: None  # type: ignore[method-assign]
    made.writer.put = lambda chunk, lines=1: None  # type: ignore[method-assign]
    return made


def wire_hot(app: FastAPI) -> None:
    """The door, whose spans are dropped when they end: what is left is the part inside the request."""
    made = wire_door(app)
    made.sink = lambda span: None


async def call(app: FastAPI, times: int) -> float:
    """CPU µs a call, all threads."""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        pass

    started = time.process_time()
    for _ in range(times):
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
            "path": "/empty", "raw_path": b"/empty", "query_string": b"", "root_path": "", "state": {},
            "headers": [(b"host", b"here"), (b"user-agent", b"profile"), (b"accept", b"*/*")],
            "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
        }  # fmt: skip
        await app(scope, receive, send)
    return (time.process_time() - started) / times * 1e6


async def measure(apps: dict[str, FastAPI]) -> dict[str, float]:
    """Median CPU µs a call of each."""
    for app in apps.values():
        await call(app, 200)
    taken: dict[str, list[float]] = {name: [] for name in apps}
    for _ in range(ROUNDS):
        for name, app in apps.items():
            taken[name].append(await call(app, CALLS))
    return {name: statistics.median(values) for name, values in taken.items()}


def functions(app: FastAPI, top: int = 15) -> str:
    """Where the time of one wiring goes: own time, function by function."""
    profile, out = cProfile.Profile(), io.StringIO()
    asyncio.run(call(app, 200))
    profile.runcall(asyncio.run, call(app, CALLS))
    pstats.Stats(profile, stream=out).sort_stats("tottime").print_stats(top)
    return "\n".join(line for line in out.getvalue().splitlines() if line.strip())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.telemetry.profile", description=__doc__)
    parser.add_argument("--functions", action="store_true", help="function by function as well")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    apps = {
        "bare": build(),
        "stock wiring": build(wire_stock),
        "the door, inside the request": build(wire_hot),
        "the door, whole": build(wire_door),
    }
    found = asyncio.run(measure(apps))
    if options.json:
        Console().print_json(json.dumps({name: round(us, 2) for name, us in found.items()}))
        return
    table = Table(title=f"CPU µs a call of an empty route, median of {ROUNDS} rounds of {CALLS}")
    for column in ("wiring", "µs", "over bare", "of bare"):
        table.add_column(column, justify="left" if column == "wiring" else "right")
    for name, us in found.items():
        table.add_row(name, f"{us:.1f}", f"+{us - found['bare']:.1f}", f"{us / found['bare'] - 1:.0%}")
    Console().print(table)
    if options.functions:
        for name in ("stock wiring", "the door, whole"):
            Console().print(f"\n{name}\n{functions(apps[name])}", markup=False, highlight=False)


if __name__ == "__main__":
    trace.set_tracer_provider(TracerProvider())
    main()
