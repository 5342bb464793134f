"""The real door, in memory: for tests that ask what left the process.

``record()`` builds a real ``Telemetry`` whose exporter and line writer keep what they would have sent. Nothing is
replaced on the way: spans are decoded from the very OTLP bytes, metrics read from the very exposition.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as WireSpan

from service.telemetry import exposition, otlp, telemetry
from service.telemetry.telemetry import Telemetry


class Recorded:
    """What one process would have sent."""

    def __init__(self, made: Telemetry) -> None:
        self.telemetry = made
        self._chunks: list[bytes] = []
        self._lines: list[bytes] = []
        made.exporter.put = lambda chunk, spans: self._chunks.append(chunk)  # type: ignore[method-assign]
        made.writer.put = lambda chunk, lines=1: self._lines.append(chunk)  # type: ignore[method-assign]

    def clear(self) -> None:
        """Forget spans and lines so far; metrics stay."""
        self.telemetry.pipeline.drain()
        self._chunks.clear()
        self._lines.clear()

    def spans(self) -> list[WireSpan]:
        """All spans, as a collector would decode them."""
        self.telemetry.pipeline.drain()
        body = otlp.export_request({}, "", "", self._chunks)
        decoded = ExportTraceServiceRequest.FromString(body)
        return [span for part in decoded.resource_spans for scope in part.scope_spans for span in scope.spans]

    def span(self, name: str) -> WireSpan:
        """The one span of that name; says which there are when it is missing."""
        found = [span for span in self.spans() if span.name == name]
        if len(found) != 1:
            raise AssertionError(f"{len(found)} spans named {name!r} among {[span.name for span in self.spans()]}")
        return found[0]

    def lines(self) -> list[dict[str, Any]]:
        """All log lines, decoded."""
        self.telemetry.pipeline.drain()
        return [json.loads(line) for chunk in self._lines for line in chunk.splitlines()]

    def line(self, message: str) -> dict[str, Any]:
        """The one line with that message."""
        found = [line for line in self.lines() if line.get("message") == message]
        if len(found) != 1:
            raise AssertionError(
                f"{len(found)} lines {message!r} among {[line.get('message') for line in self.lines()]}"
            )
        return found[0]

    def metrics_text(self) -> str:
        """The exposition that Prometheus would scrape."""
        self.telemetry.pipeline.drain()
        registry = self.telemetry.instruments.registry
        pieces, _ = exposition.pieces(registry, "application/openmetrics-text; version=1.0.0")
        return b"".join(pieces).decode()

    def requests(self, route: str, status: int, outcome: str, method: str = "GET") -> float:
        """Requests counted for one combination of labels; 0 when there is no such series."""
        self.telemetry.pipeline.drain()
        labels = {
            "http_request_method": method,
            "http_route": route,
            "http_response_status_code": str(status),
            "outcome": outcome,
        }
        name = "http_server_request_duration_seconds_count"
        return self.telemetry.instruments.registry.get_sample_value(name, labels) or 0.0

    def everything(self) -> str:
        """All that would leave the process, as one text to search for what must not."""
        self.spans()
        wire = b"".join(self._chunks).decode("utf-8", "replace")
        return wire + b"".join(self._lines).decode() + self.metrics_text()

    @staticmethod
    def value(value: Any) -> Any:
        """An OTLP ``AnyValue`` as a Python value."""
        kind = value.WhichOneof("value")
        if kind == "array_value":
            return [Recorded.value(item) for item in value.array_value.values]
        return getattr(value, kind)

    def attributes(self, span: WireSpan) -> dict[str, Any]:
        """Attributes of a span as a mapping."""
        return {pair.key: self.value(pair.value) for pair in span.attributes}


@contextmanager
def record(service_name: str = "tested") -> Iterator[Recorded]:
    """Make a recording door the current one of this process, with JSON logging; the former comes back at the end."""
    with former_door():
        made = telemetry.build_telemetry(
            service_name=service_name,
            service_version="0",
            instance_id=f"{service_name}-1",
            environment="development",
            otlp_url=None,
        )
        recorded = Recorded(made)
        made.take_over_logging()
        yield recorded


@contextmanager
def former_door() -> Iterator[None]:
    """Whatever door is built within, the former one, and the former logging, come back at the end."""
    before, root = telemetry._current, logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        telemetry._current = before
        root.handlers[:] = handlers
        root.setLevel(level)
