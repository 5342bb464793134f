"""Turns finished spans into metrics with exemplars, log lines and OTLP bytes, many at a time.

This is the hot loop of the door: whatever a request need not do itself is done here, with everything that is the
same for many spans prepared once (a ``RequestShape`` or ``CallShape``). It runs on the ticker, many spans at a time
because each turn begins with cold caches; when spans come faster, on the thread that finished the last of a round.
Owns that conversion. Knows nothing of ASGI, SQL or delivery.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Protocol, final

import orjson
from opentelemetry.trace import SpanKind, StatusCode

from service.telemetry import catalog, otlp
from service.telemetry.export import SpanExporter
from service.telemetry.instruments import Distribution, Instruments, Touched
from service.telemetry.lines import LineWriter, timestamp
from service.telemetry.middleware import ServerSpan
from service.telemetry.outcome import Outcome, classify_response
from service.telemetry.spans import Parent, RemoteParent, Span, draw, now_ns, wall_clock_offset

ROUND = 256  # spans that do not wait for the ticker: 2 ms of work, and a bound of what is held

_EXEMPLAR = otlp.delimited(b"\x4a", otlp.key_value(catalog.EXEMPLAR_ATTRIBUTE, True))
_SEVERITY = {"good": "INFO", "excluded": "INFO", "bad": "ERROR"}


class CallShape(Protocol):
    """What all calls of one kind share: their encoded name, kind and attributes, and where they are measured."""

    name: str
    encoded: otlp.SpanShape

    def measure(self, span: Span) -> Distribution:
        """Where this span's duration is counted."""


@final
class CallSpan(Span):
    """An outbound call: a client span that is also measured."""

    kind = SpanKind.CLIENT

    def __init__(self, shape: CallShape, parent: Parent, sink: Callable[[Span], None]) -> None:
        self.name = shape.name
        self.shape = shape
        self.parent = parent
        self._sink = sink
        self.start_ns = now_ns()


class DatabaseShape:
    """What all calls of one statement or command share, with where those that went well and those that failed are
    measured. ``client``: system, pool and operation, the labels of that.
    """

    __slots__ = ("bad", "encoded", "good", "name")

    def __init__(
        self, name: str, attributes: Mapping[str, object], client: tuple[str, str, str], instruments: Instruments
    ) -> None:
        durations = instruments.db_operation_duration
        self.name = name
        self.encoded = otlp.SpanShape(name, SpanKind.CLIENT.value + 1, attributes)
        self.good = Distribution(durations.labels(*client, "good"), catalog.CALL_SECONDS)
        self.bad = Distribution(durations.labels(*client, "bad"), catalog.CALL_SECONDS)

    def measure(self, span: Span) -> Distribution:
        return self.bad if span.error_type else self.good


DoneCall = tuple[DatabaseShape, Span | RemoteParent, int, int]
"""A call that went well while nobody else could reach its span: what it was, for whom, when it began and ended. A tuple
costs the request half of what a span does."""
Hold = Callable[[Span | DoneCall], None]


def failed_call(shape: CallShape, parent: Parent, start_ns: int, exception: Exception) -> CallSpan:
    """The span of a call that ends now with ``exception``, for ``hold``."""
    span = CallSpan(shape, parent, _nobody)
    span.start_ns = start_ns
    span.fail(exception)
    span.end_ns = now_ns()
    return span


def _nobody(span: Span) -> None:
    """The sink of a span that nobody is left to end."""


class RequestShape:
    """What all requests of one route, method and status share."""

    __slots__ = ("duration", "line", "outcome", "span")

    def __init__(self, duration: Distribution, span: otlp.SpanShape, line: str, outcome: Outcome) -> None:
        self.duration = duration
        self.span = span
        self.line = line
        self.outcome = outcome


class Pipeline:
    """``accept`` is the sink of spans; ``drain`` does rounds until none is left.

    ``hold``: takes what is done whose parent is still to come, and leaves it to that one to complete a round.
    """

    def __init__(
        self,
        resource: Mapping[str, str],
        instruments: Instruments,
        exporter: SpanExporter,
        writer: LineWriter,
    ) -> None:
        self._instruments = instruments
        self._exporter = exporter
        self._writer = writer
        self._finished: deque[Span | DoneCall] = deque()
        self.hold: Hold = self._finished.append
        self._draining = threading.Lock()
        self._touched: Touched = []
        self._shapes: dict[tuple[str, str, int, Outcome], RequestShape] = {}
        self._known: dict[tuple[str, str, int, bool, bool], RequestShape] = {}
        self._ceiling = catalog.MAX_MORE_SHAPES
        self._plain: dict[tuple[str, int], otlp.SpanShape] = {}
        self._static = orjson.dumps(dict(resource))[1:-1].decode()

    def accept(self, span: Span) -> None:
        """Take a finished span. Costs an append, and a round when this one completes it."""
        finished = self._finished
        finished.append(span)
        if len(finished) >= ROUND:
            self.drain()

    def after_fork(self) -> None:
        """In the child: what is under way is the parent's."""
        self._draining = threading.Lock()
        self._finished.clear()
        while self._touched:
            self._touched.pop().forget()

    def drain(self, *, wait: bool = False) -> None:
        """Convert everything finished so far. If a round is under way elsewhere it takes these too."""
        if not self._draining.acquire(blocking=wait):
            return
        try:
            while self._finished:
                self._round()
            self._instruments.tell_tallies()
        finally:
            self._draining.release()

    def _round(self) -> None:
        finished = self._finished
        offset = wall_clock_offset()
        spans: list[bytes] = []
        lines: list[str] = []
        for _ in range(min(len(finished), ROUND)):
            span = finished.popleft()
            try:
                if isinstance(span, tuple):
                    spans.append(self._done(*span, offset))
                elif type(span) is CallSpan:  # isinstance of an abstract class costs as much as all of its encoding
                    spans.append(self._call(span, offset))
                elif isinstance(span, ServerSpan):
                    spans.append(self._server(span, offset, lines))
                else:
                    spans.append(self._encode(span, self._plain_shape(span), offset))
            except Exception as problem:  # telemetry never raises into a request
                self._instruments.dropped.labels("spans", "encoding").inc()
                self._instruments.produced.labels("spans").inc()
                lines.append(self._problem_line(problem))
        while self._touched:
            self._touched.pop().tell()
        if spans:
            self._exporter.put(b"".join(spans), len(spans))
        if lines:
            self._writer.put("".join(lines).encode(), len(lines))

    # one span of each kind

    def _server(self, span: ServerSpan, offset: int, lines: list[str]) -> bytes:
        if span.unreadable:
            raise span.unreadable
        seen = (span.method, span.route, span.status, span.complete, span.raised)
        shape = self._known.get(seen) or self._know(*seen)
        seconds = (span.end_ns - span.start_ns) / 1e9
        ids = span.ids()
        request_id = span.own_request_id
        why = ""
        if shape.outcome == "bad":
            span.error_type = span.error_type or str(span.status or 500)
            why = ',"error.type":' + orjson.dumps(span.error_type).decode()
            if span.status_code is StatusCode.UNSET:
                span.status_code = StatusCode.ERROR
        if span.notes:
            why += "," + orjson.dumps(span.notes)[1:-1].decode()
        lines.append(
            f'{{"timestamp":"{timestamp(span.end_ns + offset)}","trace_id":"{ids[0].hex()}","span_id":"{ids[1].hex()}",'
            f'"{catalog.REQUEST_ID_FIELD}":"{request_id}","http.server.request.duration":{seconds:.6f},'
            f"{shape.line}{why}}}\n"
        )
        named = _before_request_id(len(request_id)) + request_id.encode()
        exemplar = shape.duration.observe(seconds, ids, self._touched)
        return self._encode(span, shape.span, offset, named + _EXEMPLAR if exemplar else named)

    def _done(
        self, shape: DatabaseShape, parent: Span | RemoteParent, start_ns: int, end_ns: int, offset: int
    ) -> bytes:
        trace_id, parent_id = parent.ids()
        span_id = draw(64).to_bytes(8, "big")
        exemplar = shape.good.observe((end_ns - start_ns) / 1e9, (trace_id, span_id), self._touched)
        extra = _EXEMPLAR if exemplar else b""
        return shape.encoded.encode(trace_id, span_id, parent_id, start_ns + offset, end_ns + offset, extra)

    def _call(self, span: CallSpan, offset: int) -> bytes:
        seconds = (span.end_ns - span.start_ns) / 1e9
        exemplar = span.shape.measure(span).observe(seconds, span.ids(), self._touched)
        return self._encode(span, span.shape.encoded, offset, _EXEMPLAR if exemplar else b"")

    def _encode(self, span: Span, shape: otlp.SpanShape, offset: int, extra: bytes = b"") -> bytes:
        # Most spans hold nothing but what the shape knows: the instance has none of the fields that say otherwise.
        if (
            span.attributes
            or span.events
            or span.error_type
            or span.links
            or (span.status_code is not StatusCode.UNSET)
        ):
            extra += _rest(span, offset)
        trace_id, span_id = span.ids()
        parent_id = span.parent_span_id()
        return shape.encode(trace_id, span_id, parent_id, span.start_ns + offset, span.end_ns + offset, extra)

    # what spans share

    def expect(self, routes: Iterable[tuple[str, str]]) -> None:
        """Make the series of these methods and route templates, at zero; then only so many more may come."""
        self._ceiling = sys.maxsize
        for method, route in routes:
            self._shape(method, route, 200, "good")
            self._shape(method, route, 500, "bad")
        self._ceiling = len(self._shapes) + catalog.MAX_MORE_SHAPES

    def _know(self, method: str, route: str, status: int, complete: bool, raised: bool) -> RequestShape:
        """The shape of requests that look so. It is found at once the next time, but for what overflows: that is
        counted, and there is no end of it.
        """
        told = status or 500 if raised else status
        outcome = classify_response(told, complete=complete, raised=raised)
        shape = self._shape(method, route, told, outcome)
        if (method, route, told, outcome) in self._shapes:
            self._known[method, route, status, complete, raised] = shape
        return shape

    def _shape(self, method: str, route: str, status: int, outcome: Outcome) -> RequestShape:
        if method not in catalog.STANDARD_METHODS:
            method = catalog.OTHER_METHOD
        key = (method, route, status, outcome)
        shape = self._shapes.get(key)
        if shape is not None:
            return shape
        if status == 405 and route != catalog.UNMATCHED_ROUTE:  # a stranger's method: no route has matched it
            self._shapes[key] = shape = self._shape(method, catalog.UNMATCHED_ROUTE, status, outcome)
            return shape
        if len(self._shapes) >= self._ceiling and route != catalog.OVERFLOW_ROUTE:
            self._instruments.overflow.inc()
            failed = self._shapes.get((method, route, 500, "bad")) if outcome == "bad" else None
            return failed or self._shape(catalog.OTHER_METHOD, catalog.OVERFLOW_ROUTE, status // 100 * 100, outcome)
        attributes: dict[str, object] = {"http.request.method": method, "url.scheme": "http"}
        if route != catalog.UNMATCHED_ROUTE:
            attributes["http.route"] = route
        if status:
            attributes["http.response.status_code"] = status
        line: dict[str, object] = {
            "severity": _SEVERITY[outcome],
            "logger": "http.server",
            "message": f"{method} {route} {status or '-'}",
            "http.request.method": method,
            "http.route": route,
            "http.response.status_code": status,
            "outcome": outcome,
        }
        shape = RequestShape(
            Distribution(
                self._instruments.http_server_duration.labels(method, route, str(status), outcome),
                catalog.REQUEST_SECONDS,
            ),
            otlp.SpanShape(method if route == catalog.UNMATCHED_ROUTE else f"{method} {route}", 2, attributes),
            orjson.dumps(line)[1:-1].decode() + "," + self._static,
            outcome,
        )
        self._shapes[key] = shape
        return shape

    def _plain_shape(self, span: Span) -> otlp.SpanShape:
        key = (span.name, span.kind.value)
        shape = self._plain.get(key)
        if shape is None:
            shape = otlp.SpanShape(span.name, span.kind.value + 1)
            if len(self._plain) < 1024:
                self._plain[key] = shape
        return shape

    def _problem_line(self, problem: Exception) -> str:
        fields = {
            "timestamp": timestamp(time.time_ns()),
            "severity": "ERROR",
            "logger": "service.telemetry",
            "message": "a span could not be recorded",
            "error.type": type(problem).__qualname__,
        }
        return orjson.dumps(fields)[:-1].decode() + "," + self._static + "}\n"


@lru_cache(maxsize=64)  # as many lengths as there are
def _before_request_id(length: int) -> bytes:
    """An encoded attribute up to its value, the name of a request."""
    return otlp.attributes_field(b"\x4a", {catalog.REQUEST_ID_ATTRIBUTE: "-" * length})[:-length]


def _rest(span: Span, offset: int) -> bytes:
    """What a span holds beyond its shape, as encoded fields."""
    rest = b""
    if span.attributes:
        rest += otlp.attributes_field(b"\x4a", span.attributes)
    if span.error_type:
        rest += otlp.delimited(b"\x4a", otlp.key_value("error.type", span.error_type))
    if span.dropped_attributes:
        rest += b"\x50" + otlp.varint(span.dropped_attributes)
    for name, at, attributes in span.events or ():
        rest += otlp.event_field(name, at + offset, attributes)
    if span.dropped_events:
        rest += b"\x60" + otlp.varint(span.dropped_events)
    for link in span.links or ():
        rest += otlp.link_field(link.context.trace_id, link.context.span_id, link.attributes)
    if span.dropped_links:
        rest += b"\x70" + otlp.varint(span.dropped_links)
    if span.status_code is not StatusCode.UNSET:
        rest += otlp.status_field(span.status_code.value, span.status_message)
    return rest
