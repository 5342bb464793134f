"""A trace as spans in the order of a waterfall.

Owns reading Jaeger's documents and the tree of a trace. Refuses to know queries and drawing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Span:
    """One span. `start_s` is in seconds since the epoch; `depth` is its distance from the root of its tree."""

    span_id: str
    parent_id: str | None
    service: str
    operation: str
    kind: str
    start_s: float
    duration_s: float
    failed: bool
    tags: dict[str, str]
    events: list[dict[str, str]]
    trace_id: str = ""
    depth: int = 0
    instance: str = ""
    version: str = ""


def parse_trace(document: dict[str, Any]) -> list[Span]:
    """One element of Jaeger's `data` → its spans, parents before children, siblings by start."""
    processes = document.get("processes") or {}
    return _arrange([_parse_span(entry, processes) for entry in document.get("spans") or []])


def services(spans: list[Span]) -> list[str]:
    """The services of a trace in the order in which they appear."""
    return list(dict.fromkeys(span.service for span in spans))


def _parse_span(entry: dict[str, Any], processes: dict[str, Any]) -> Span:
    tags = _texts(entry.get("tags"))
    references = entry.get("references") or []
    parent = next((ref["spanID"] for ref in references if ref.get("refType") == "CHILD_OF"), None)
    process = processes.get(str(entry.get("processID")), {})
    about = _texts(process.get("tags"))
    return Span(
        span_id=str(entry["spanID"]),
        parent_id=str(parent) if parent else None,
        service=str(process.get("serviceName", "unknown")),
        operation=str(entry.get("operationName", "")),
        kind=tags.get("span.kind", "internal"),
        start_s=int(entry["startTime"]) / 1e6,
        duration_s=int(entry["duration"]) / 1e6,
        failed=tags.get("error") == "true" or tags.get("otel.status_code") == "ERROR",
        tags=tags,
        trace_id=str(entry.get("traceID", "")),
        events=[_texts(log.get("fields")) for log in entry.get("logs") or []],
        instance=about.get("service.instance.id", ""),
        version=about.get("service.version", ""),
    )


def _texts(pairs: list[dict[str, Any]] | None) -> dict[str, str]:
    return {
        str(pair["key"]): str(pair["value"]).lower() if isinstance(pair["value"], bool) else str(pair["value"])
        for pair in pairs or []
    }


def _arrange(spans: list[Span]) -> list[Span]:
    """Depth first from the roots; a span whose parent is unknown, or its own ancestor, is a root."""
    known = {span.span_id for span in spans}
    children: dict[str | None, list[Span]] = {}
    for span in sorted(spans, key=lambda span: span.start_s):
        parent = span.parent_id if span.parent_id in known and span.parent_id != span.span_id else None
        children.setdefault(parent, []).append(span)
    arranged: dict[str, Span] = {}
    for root in [*children.get(None, []), *spans]:
        waiting = [(root, 0)]
        while waiting:
            span, depth = waiting.pop()
            if span.span_id not in arranged:
                arranged[span.span_id] = replace(span, depth=depth)
                waiting += [(child, depth + 1) for child in reversed(children.get(span.span_id, []))]
    return list(arranged.values())
