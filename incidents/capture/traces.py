"""Traces out of a Jaeger, service by service, in slices of time that are halved until each answer is whole.

Owns searching until nothing is left out, and each trace once. Refuses to know bundles and redaction.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from pydantic import ValidationError

from incidents.bundle.form import MARGIN_S, Trace
from incidents.capture.moments import Slice
from incidents.capture.otlp import REPLAY, convert_trace
from incidents.capture.source import Source, SourceError, TooMuch

AT_ONCE = 200
US_AT_ONCE = 60_000_000
LEAST_US = 1_000
"""More than AT_ONCE traces of a service that begin within a millisecond are cut."""


class Traces:
    """Reads the traces in which services take part: those named, or all. Of one replay, or those that none brought."""

    def __init__(self, source: Source, services: tuple[str, ...] = (), replay: str | None = None) -> None:
        self.services = services
        self.replay = replay
        self.cut_searches = 0
        self.unreadable = 0
        self._source = source
        self._seen: set[str] = set()

    async def traces(self, slice_: Slice) -> AsyncIterator[tuple[float, list[Trace]]]:
        """Portions of traces that have a span in the slice, with the share that is done. Each trace comes once."""
        services = self.services or tuple(sorted((await self._source.get("/api/services", {}))["data"] or ()))
        start_us, end_us = slice_.start_ms * 1000, slice_.end_ms * 1000 + 999
        starts = range(start_us, end_us + 1, US_AT_ONCE)
        for position, service in enumerate(services):
            for number, begins in enumerate(starts):
                share = (position + number / len(starts)) / len(services)
                async for found in self._search(service, begins, min(begins + US_AT_ONCE - 1, end_us)):
                    yield share, [trace for document in found for trace in self._convert(document, slice_)]

    async def _search(self, service: str, start_us: int, end_us: int) -> AsyncIterator[list[dict[str, Any]]]:
        found: list[dict[str, Any]] | None = None
        try:
            parameters = {"service": service, "start": start_us, "end": end_us, "limit": AT_ONCE}
            found = (await self._source.get("/api/traces", parameters))["data"] or []
        except TooMuch:
            if end_us - start_us <= LEAST_US:
                raise SourceError(f"jaeger: a millisecond of {service} is too large to be read") from None
        if found is not None and (len(found) < AT_ONCE or end_us - start_us <= LEAST_US):
            self.cut_searches += len(found) >= AT_ONCE
            yield found
            return
        middle = (start_us + end_us) // 2
        for begins, ends in ((start_us, middle), (middle + 1, end_us)):
            async for portion in self._search(service, begins, ends):
                yield portion

    def _convert(self, document: dict[str, Any], slice_: Slice) -> list[Trace]:
        """The trace, unless it was there before, is of another replay, or has times that make no sense."""
        trace_id = str(document.get("traceID", ""))
        if trace_id in self._seen:
            return []
        self._seen.add(trace_id)
        try:
            trace = convert_trace(document)
        except (ValidationError, KeyError, ValueError, TypeError):
            self.unreadable += 1
            return []
        attributes = trace.resourceSpans[0].resource.attributes
        if next((pair.value.stringValue for pair in attributes if pair.key == REPLAY), None) != self.replay:
            return []
        low, high = (slice_.start_ms - MARGIN_S * 1000) * 10**6, (slice_.end_ms + MARGIN_S * 1000) * 10**6
        moments = [
            int(at)
            for span in trace.spans()
            for at in (
                span.startTimeUnixNano,
                span.endTimeUnixNano,
                *(event.timeUnixNano for event in span.events),
            )
        ]
        if not low <= min(moments) <= max(moments) <= high:
            self.unreadable += 1
            return []
        return [trace]
