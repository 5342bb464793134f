"""A bundle's traces → the local Jaeger, by OTLP over HTTP, past the collector.

Owns marking and moving, and leaving out what is there already. The collector must not see them: it would count them in
the span metrics of now, and sample them.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator

from incidents.bundle.form import Event, Link, OtlpSpan, Trace
from incidents.capture.moments import Slice
from incidents.capture.otlp import REPLAY, text_attribute
from incidents.capture.source import Source
from incidents.capture.traces import Traces
from incidents.replay.placement import Placement
from incidents.replay.receiver import Receiver

BATCH_SPANS = 500


async def load_traces(
    traces: Iterator[Trace], place: Placement, receiver: Receiver, source: Source
) -> AsyncIterator[tuple[int, int]]:
    """Send the traces that are not there yet; tells how many were sent and how many were there. Raises ReplayError."""
    there = await _present(place, source)
    sent = present = spans = 0
    batch: list[Trace] = []
    for trace in traces:
        moved = move(trace, place)
        if there.get(moved.trace_id) == {span.spanId for span in moved.spans()}:
            present += 1
            continue
        batch.append(moved)
        sent += 1
        spans += len(moved.spans())
        if spans >= BATCH_SPANS:
            await _send(batch, receiver)
            batch, spans = [], 0
            yield sent, present
    if batch:
        await _send(batch, receiver)
    yield sent, present


async def count_traces(place: Placement, source: Source) -> int:
    """How many traces of this replay Jaeger has. Raises SourceError and TooMuch."""
    return len(await _present(place, source))


def move(trace: Trace, place: Placement) -> Trace:
    """The trace as it is here: its times, its ids, its mark."""
    mark = text_attribute(REPLAY, place.label)
    return trace.changed(lambda attributes: [*attributes, mark], lambda span: _move_span(span, place))


def _move_span(span: OtlpSpan, place: Placement) -> OtlpSpan:
    return span.model_copy(
        update={
            "traceId": place.trace_id(span.traceId),
            "startTimeUnixNano": _moved(span.startTimeUnixNano, place),
            "endTimeUnixNano": _moved(span.endTimeUnixNano, place),
            "events": [
                Event(timeUnixNano=_moved(event.timeUnixNano, place), name=event.name, attributes=event.attributes)
                for event in span.events
            ],
            "links": [Link(traceId=place.trace_id(link.traceId), spanId=link.spanId) for link in span.links],
        }
    )


def _moved(at_ns: str, place: Placement) -> str:
    return str(int(at_ns) + place.shift_ms * 1_000_000)


async def _send(batch: list[Trace], receiver: Receiver) -> None:
    document = {
        "resourceSpans": [
            one.model_dump(exclude_none=True, mode="json") for trace in batch for one in trace.resourceSpans
        ]
    }
    await receiver.post("/v1/traces", json.dumps(document).encode(), {"Content-Type": "application/json"})


async def _present(place: Placement, source: Source) -> dict[str, set[str]]:
    """The spans that Jaeger has of this replay, by trace."""
    there: dict[str, set[str]] = {}
    async for _, found in Traces(source, replay=place.label).traces(Slice(place.start_ms, place.end_ms)):
        for trace in found:
            there[trace.trace_id] = {span.spanId for span in trace.spans()}
    return there
