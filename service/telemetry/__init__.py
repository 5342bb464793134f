"""The door: everything the service tells of itself goes through here, and nothing else imports its libraries.

``instrument`` is the one call for an application elsewhere (docs/instrument.md). ``build_telemetry`` makes one
``Telemetry`` a process, after fork. ``span``, ``event``, ``note``, ``problem``, ``carrier``, ``consumer_span``,
``trace_id``, ``request_id``, ``logger`` and ``metrics`` then work from anywhere. Before it is built (in unit tests)
they work as well, on a real pipeline in memory that exports nothing. Nothing here raises into the caller's work.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.trace import SpanKind

from service.telemetry.catalog import REQUEST_ID_HEADER
from service.telemetry.instrument import instrument
from service.telemetry.instruments import Instruments
from service.telemetry.null import NullActive, NullTelemetry
from service.telemetry.spans import Active, Span
from service.telemetry.telemetry import Telemetry, build_telemetry, current, switch_off

if TYPE_CHECKING:
    metrics: Instruments

__all__ = [
    "NullTelemetry",
    "SpanKind",
    "Telemetry",
    "build_telemetry",
    "carrier",
    "consumer_span",
    "event",
    "instrument",
    "logger",
    "metrics",
    "note",
    "problem",
    "request_id",
    "span",
    "switch_off",
    "trace_id",
]


def span(
    name: str, *, kind: SpanKind = SpanKind.INTERNAL, attributes: Mapping[str, Any] | None = None
) -> Active | NullActive:
    """``with span("orders.reserve_stock") as s:`` — a child of the current span, failed by what it raises."""
    return current().span(name, kind, attributes)


def event(name: str, attributes: Mapping[str, Any] | None = None) -> None:
    """Something worth knowing has happened: an event of the current span and a log line at INFO."""
    current().event(name, attributes)


def note(key: str, word: str) -> None:
    """Something worth knowing of the request at hand, for its span and line: ``word`` is one of a short list."""
    current().note(key, word)


def problem(kind: str, reason: str = "") -> None:
    """The request at hand is answered with a problem, which is counted and named in its span and line.

    Both are words of short lists; ``reason`` says why where the caller is told less than we know.
    """
    current().problem(kind, reason)


def carrier() -> dict[str, str]:
    """The current trace, and the request's name, as headers to travel with a job. Empty outside any span."""
    active = trace.get_current_span()
    if not isinstance(active, Span):
        return {}
    request_id = active.request_id()
    return {"traceparent": active.traceparent(), **({REQUEST_ID_HEADER: request_id} if request_id else {})}


def consumer_span(
    name: str, headers: Mapping[str, str], *, attributes: Mapping[str, Any] | None = None
) -> Active | NullActive:
    """The work on one delivery of a job: continues the trace that enqueued it, or starts one."""
    return current().consumer_span(name, headers, attributes)


def trace_id() -> str | None:
    """Id of the current trace as 32 hex digits; None outside any span."""
    context = trace.get_current_span().get_span_context()
    return f"{context.trace_id:032x}" if context.is_valid else None


def request_id() -> str | None:
    """What the current request is called, by whoever passed it on or by us; None outside any."""
    active = trace.get_current_span()
    return (active.request_id() or None) if isinstance(active, Span) else None


def logger(name: str) -> logging.Logger:
    """A logger whose lines are JSON and carry the current trace."""
    return logging.getLogger(name)


def __getattr__(name: str) -> Any:
    if name == "metrics":
        return current().instruments
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
