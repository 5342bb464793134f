"""A trace as Jaeger's query API tells it → the same trace as OTLP/JSON, from which Jaeger tells it again.

Owns undoing what Jaeger does to OTLP when it answers: kind, status and scope become tags, parents and links become
references, events become logs. Lost on Jaeger's own way, and so here: nanoseconds, attributes of links, trace state.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any

from incidents.bundle.form import (
    AnyValue,
    Attribute,
    Event,
    Link,
    OtlpSpan,
    Resource,
    ResourceSpans,
    Scope,
    ScopeSpans,
    Status,
    Trace,
)

REPLAY = "replay"
"""The resource attribute, label and stream label that tells what a replay brought from what is live."""
_KINDS = {"internal": 1, "server": 2, "client": 3, "producer": 4, "consumer": 5}
_CODES = {"OK": 1, "ERROR": 2}
_NOT_ATTRIBUTES = frozenset(
    ("span.kind", "otel.status_code", "otel.status_description", "otel.scope.name", "otel.scope.version")
)


def convert_trace(document: dict[str, Any]) -> Trace:
    """One element of Jaeger's `data` → OTLP. Raises KeyError, ValueError or TypeError for what is no trace."""
    processes = document.get("processes") or {}
    groups: dict[tuple[str, str, str], list[OtlpSpan]] = {}
    for entry in document["spans"]:
        tags = {str(tag["key"]): tag["value"] for tag in entry.get("tags") or ()}
        scope = (str(tags.get("otel.scope.name", "")), str(tags.get("otel.scope.version", "")))
        groups.setdefault((str(entry["processID"]), *scope), []).append(_convert_span(entry, tags))
    resources: dict[str, list[ScopeSpans]] = {}
    for (process, name, version), spans in sorted(groups.items()):
        resources.setdefault(process, []).append(ScopeSpans(scope=Scope(name=name, version=version), spans=spans))
    return Trace(
        resourceSpans=[
            ResourceSpans(resource=_resource(processes[process]), scopeSpans=scopes)
            for process, scopes in resources.items()
        ]
    )


def text_attribute(key: str, value: str) -> Attribute:
    """An attribute that is text."""
    return Attribute(key=key, value=AnyValue(stringValue=value))


def _resource(process: dict[str, Any]) -> Resource:
    name = text_attribute("service.name", str(process["serviceName"]))
    return Resource(attributes=[name, *_attributes(process.get("tags") or (), frozenset(("service.name",)))])


def _convert_span(entry: dict[str, Any], tags: dict[str, Any]) -> OtlpSpan:
    trace_id = str(entry["traceID"]).zfill(32)
    parent, links = "", []
    for reference in entry.get("references") or ():
        other, span_id = str(reference["traceID"]).zfill(32), str(reference["spanID"]).zfill(16)
        if reference.get("refType") == "CHILD_OF" and other == trace_id and not parent:
            parent = span_id
        else:
            links.append(Link(traceId=other, spanId=span_id))
    start_us = int(entry["startTime"])
    code = _CODES.get(str(tags.get("otel.status_code", "")), 2 if tags.get("error") is True else 0)
    made_up = _NOT_ATTRIBUTES | ({"error"} if code == 2 and tags.get("error") is True else set())
    return OtlpSpan(
        traceId=trace_id,
        spanId=str(entry["spanID"]).zfill(16),
        parentSpanId=parent,
        name=str(entry["operationName"]),
        kind=_KINDS.get(str(tags.get("span.kind", "")), 0),
        startTimeUnixNano=str(start_us * 1000),
        endTimeUnixNano=str((start_us + int(entry["duration"])) * 1000),
        attributes=_attributes(entry.get("tags") or (), made_up),
        events=[_convert_event(log) for log in entry.get("logs") or ()],
        links=links,
        status=Status(code=code, message=str(tags.get("otel.status_description", ""))),
    )


def _convert_event(log: dict[str, Any]) -> Event:
    fields = log.get("fields") or ()
    name = next((str(field["value"]) for field in fields if field["key"] == "event"), "")
    return Event(
        timeUnixNano=str(int(log["timestamp"]) * 1000),
        name=name,
        attributes=_attributes(fields, frozenset(("event",))),
    )


def _attributes(tags: Iterable[dict[str, Any]], left_out: Iterable[str]) -> list[Attribute]:
    skipped = frozenset(left_out)
    return [
        Attribute(key=str(tag["key"]), value=_value(str(tag.get("type", "string")), tag["value"]))
        for tag in tags
        if tag["key"] not in skipped
    ]


def _value(kind: str, value: Any) -> AnyValue:
    match kind:
        case "bool":
            return AnyValue(boolValue=value if isinstance(value, bool) else str(value).lower() == "true")
        case "int64":
            return AnyValue(intValue=str(int(value)))
        case "float64" if math.isfinite(float(value)):
            return AnyValue(doubleValue=float(value))
    return AnyValue(stringValue=value if isinstance(value, str) else json.dumps(value))
