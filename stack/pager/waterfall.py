"""A trace as rows of a waterfall.

Owns: reading Jaeger's query API (`/api/traces/{id}`), the order and nesting of spans, which of them failed and how.
Refuses to know: HTML, and what the services do. Whatever a trace contains (absent parents, circles, clocks that
disagree), every span gets exactly one row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stack.pager.backends import BackendError, Backends

MAX_ROWS = 1_000
COLOURS = 8
_WIDTH = 1_000.0  # of the drawing; bars narrower than the least are not seen
_MIN_BAR = 3.0

Fields = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Event:
    """A point in time within a span, seconds after the trace's start; exceptions are events."""

    offset_s: float
    name: str
    fields: Fields


@dataclass(frozen=True)
class Row:
    """One span. `bar_x` and `bar_width` are thousandths of the trace's length."""

    span_id: str
    service: str
    operation: str
    kind: str
    depth: int
    offset_s: float
    duration_s: float
    bar_x: float
    bar_width: float
    failure: str | None
    tags: Fields
    events: tuple[Event, ...]


@dataclass(frozen=True)
class Waterfall:
    trace_id: str
    starts_at: float
    duration_s: float
    rows: tuple[Row, ...]
    left_out: int

    @property
    def colours(self) -> dict[str, int]:
        """A colour of the palette for each service, in the order of appearance."""
        services = dict.fromkeys(row.service for row in self.rows)
        return {service: position % COLOURS for position, service in enumerate(services)}

    @property
    def failures(self) -> list[Row]:
        """Failed spans, the deepest first: the one nearest to the cause is seldom the outermost."""
        return sorted((row for row in self.rows if row.failure), key=lambda row: -row.depth)


async def read_waterfall(backends: Backends, jaeger_url: str, trace_id: str) -> Waterfall | None:
    """The trace; None when Jaeger does not have it (yet). Raises BackendError."""
    try:
        answer = await backends.read_json(f"{jaeger_url}/api/traces/{trace_id}")
        return parse_waterfall(answer, trace_id)
    except BackendError as error:
        if error.status == 404:
            return None
        raise
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise BackendError(f"Jaeger's answer was not understood ({error!r:.200})") from None


def parse_waterfall(answer: Any, trace_id: str) -> Waterfall | None:
    """Rows in the order of reading: children below their parent, by start."""
    traces = answer.get("data") or []
    if not traces or not traces[0].get("spans"):
        return None
    spans = {str(span["spanID"]): span for span in traces[0]["spans"]}
    processes = traces[0].get("processes") or {}
    order = _order(spans)
    start = min(int(span["startTime"]) for span in spans.values())
    length = max(max(int(span["startTime"]) + int(span["duration"]) for span in spans.values()) - start, 1)
    rows = [_row(spans[span_id], depth, processes, start, length) for span_id, depth in order[:MAX_ROWS]]
    return Waterfall(trace_id, start / 1e6, length / 1e6, tuple(rows), max(len(order) - MAX_ROWS, 0))


def _order(spans: dict[str, Any]) -> list[tuple[str, int]]:
    """Depth first from the roots; what hangs in a circle follows as if each were a root."""
    children: dict[str | None, list[str]] = {}
    for span_id in sorted(spans, key=lambda one: int(spans[one]["startTime"])):
        parents = [str(reference["spanID"]) for reference in spans[span_id].get("references") or []]
        parent = next((one for one in parents if one in spans and one != span_id), None)
        children.setdefault(parent, []).append(span_id)
    order: dict[str, int] = {}
    for root in [*children.get(None, []), *spans]:
        stack = [(root, 0)]
        while stack:
            span_id, depth = stack.pop()
            if span_id not in order:
                order[span_id] = depth
                stack += [(child, depth + 1) for child in reversed(children.get(span_id, []))]
    return list(order.items())


def _row(span: dict[str, Any], depth: int, processes: dict[str, Any], start: int, length: int) -> Row:
    tags = _fields(span.get("tags"))
    events = tuple(_event(log, start) for log in span.get("logs") or [])
    offset, duration = int(span["startTime"]) - start, max(int(span["duration"]), 0)
    width = min(max(duration / length * _WIDTH, _MIN_BAR), _WIDTH)
    process = processes.get(str(span.get("processID"))) or {}
    by_name = dict(tags)
    return Row(
        span_id=str(span["spanID"]),
        service=str(process.get("serviceName") or "unknown"),
        operation=str(span.get("operationName") or ""),
        kind=by_name.get("span.kind", "internal"),
        depth=depth,
        offset_s=offset / 1e6,
        duration_s=duration / 1e6,
        bar_x=round(min(offset / length * _WIDTH, _WIDTH - width), 1),
        bar_width=round(width, 1),
        failure=_failure(by_name, events),
        tags=tags,
        events=events,
    )


def _event(log: dict[str, Any], start: int) -> Event:
    fields = dict(_fields(log.get("fields")))
    name = fields.pop("event", None) or fields.pop("message", None) or "event"
    return Event((int(log["timestamp"]) - start) / 1e6, name, tuple(fields.items()))


def _failure(tags: dict[str, str], events: tuple[Event, ...]) -> str | None:
    if tags.get("error", "").lower() != "true" and tags.get("otel.status_code") != "ERROR":
        return None
    for event in events:
        fields = dict(event.fields)
        if "exception.type" in fields:
            return f"{fields['exception.type']}: {fields.get('exception.message', '')}".rstrip(": ")
    status = tags.get("http.response.status_code") or tags.get("http.status_code")
    return tags.get("otel.status_description") or tags.get("error.type") or (f"HTTP {status}" if status else "failed")


def _fields(pairs: Any) -> Fields:
    return tuple((str(pair.get("key", "")), _text(pair.get("value"))) for pair in pairs or [])


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)
