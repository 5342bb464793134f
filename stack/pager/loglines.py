"""The log lines of a trace.

Owns: the question to Loki and the reading of its lines, JSON or not. Refuses to know: HTML, and which service
writes what.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import orjson

from stack.pager.backends import BackendError, Backends
from stack.pager.exemplars import TRACE_ID

MAX_LINES = 500
HOUR_S = 3_600.0

_SPAN_ID = re.compile(r"[0-9a-f]{16}")

# The first name that a line has is taken, for each column of the list.
_SERVICE = ("service_name", "service.name", "service")
_LEVEL = ("level", "severity", "levelname", "severity_text", "detected_level")
_MESSAGE = ("message", "msg", "event", "body")


@dataclass(frozen=True)
class LogLine:
    """One line; `fields` are all that came with it, the stream's labels included. `at` is seconds since the
    epoch. `trace_id` is the line's own."""

    at: float
    service: str
    level: str
    message: str
    trace_id: str | None
    span_id: str | None
    fields: tuple[tuple[str, str], ...]

    @property
    def is_error(self) -> bool:
        return self.level.lower() in {"error", "critical", "fatal"}


async def read_log_lines(
    backends: Backends, loki_url: str, trace_id: str, *, start: float, end: float
) -> list[LogLine]:
    """The lines of a trace between two moments, the oldest first, at most MAX_LINES. Raises BackendError."""
    parameters: dict[str, str | float] = {
        "query": f'{{service_name=~".+"}} | trace_id="{trace_id}"',
        "start": round(start * 1e9),
        "end": round(end * 1e9),
        "limit": MAX_LINES,
        "direction": "forward",
    }
    answer = await backends.read_json(f"{loki_url}/loki/api/v1/query_range", parameters)
    try:
        return parse_log_lines(answer)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise BackendError(f"Loki's answer was not understood ({error!r:.200})") from None


def parse_log_lines(answer: Any) -> list[LogLine]:
    """Lines of a `streams` answer, sorted by time."""
    lines = [
        _line(value[0], str(value[1]), stream.get("stream") or {})
        for stream in answer["data"]["result"]
        for value in stream["values"]
    ]
    return sorted(lines, key=lambda line: line.at)


def _line(nanoseconds: str, text: str, stream: dict[str, Any]) -> LogLine:
    document = _parse_document(text)
    fields = {str(name): _text(value) for name, value in (stream | document).items()}
    trace_id = fields.get("trace_id", "").lower()
    span_id = fields.get("span_id", "").lower()
    return LogLine(
        at=int(nanoseconds) / 1e9,
        service=_first(fields, _SERVICE),
        level=_first(fields, _LEVEL),
        message=_first({name: _text(value) for name, value in document.items()}, _MESSAGE) or text,
        trace_id=trace_id if TRACE_ID.fullmatch(trace_id) else None,
        span_id=span_id if _SPAN_ID.fullmatch(span_id) else None,
        fields=tuple(fields.items()),
    )


def _parse_document(text: str) -> dict[str, Any]:
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    return document if isinstance(document, dict) else {}


def _first(fields: dict[str, str], names: tuple[str, ...]) -> str:
    return next((fields[name] for name in names if fields.get(name)), "")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()
