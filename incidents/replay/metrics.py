"""A bundle's samples and exemplars → the local Prometheus, by remote write.

Owns marking, moving and batching. Refuses to know the wire format.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping

from incidents.bundle.form import Exemplars, Series
from incidents.capture.metrics import Metrics
from incidents.capture.moments import Slice
from incidents.capture.otlp import REPLAY
from incidents.capture.source import Source
from incidents.replay.placement import Placement
from incidents.replay.receiver import Receiver
from incidents.replay.remote_write import HEADERS, STALE, encode_block, encode_number, encode_series

BATCH_BYTES = 256 * 1024


async def load_samples(all_series: Iterator[Series], place: Placement, receiver: Receiver) -> AsyncIterator[int]:
    """Send samples, moved and marked; tells how many have been sent so far. Raises ReplayError."""
    sent = 0

    def fields() -> Iterator[tuple[int, bytes]]:
        for series in all_series:
            samples = [*zip(series.times_ms, map(encode_number, series.values), strict=True)]
            if series.ended_ms is not None:
                samples.append((series.ended_ms, STALE))
            moved = [(at + place.shift_ms, value) for at, value in samples]
            yield len(series.times_ms), encode_series(_marked(series.labels, place), moved)

    for count, batch in _batches(fields()):
        await receiver.post("/api/v1/write", encode_block(batch), HEADERS)
        sent += count
        yield sent


async def load_exemplars(found: Iterator[Exemplars], place: Placement, receiver: Receiver) -> AsyncIterator[int]:
    """Send exemplars of series whose samples are there; trace ids as they are called here. Raises ReplayError."""
    sent = 0

    def fields() -> Iterator[tuple[int, bytes]]:
        for one in found:
            exemplars = [
                (_renamed(exemplar.labels, place), exemplar.at_ms + place.shift_ms, encode_number(exemplar.value))
                for exemplar in one.exemplars
            ]
            yield len(exemplars), encode_series(_marked(one.series, place), exemplars=exemplars)

    for count, batch in _batches(fields()):
        await receiver.post("/api/v1/write", encode_block(batch), HEADERS)
        sent += count
        yield sent


async def is_taken(place: Placement, source: Source) -> bool:
    """Whether Prometheus has samples at that time which this replay did not bring. Raises SourceError."""
    step_s = max(1.0, (place.end_ms - place.start_ms) / 60_000)
    answer = await source.get(
        "/api/v1/query_range",
        {
            "query": f'count({{__name__=~".+",{REPLAY}!="{place.label}"}})',
            "start": place.start_ms / 1000,
            "end": place.end_ms / 1000,
            "step": f"{step_s:.3f}",
        },
    )
    return bool(answer["data"]["result"])


async def count_samples(place: Placement, source: Source) -> int:
    """How many samples of this replay Prometheus has. Raises SourceError.

    They are read: `count_over_time` refuses series that differ in their names alone.
    """
    total = 0
    replayed = Metrics(source, f'{{__name__=~".+",{REPLAY}="{place.label}"}}', late=True)
    async for _, portion in replayed.series(Slice(place.start_ms, place.end_ms)):
        total += sum(len(series.times_ms) for series in portion)
    return total


def _marked(labels: Mapping[str, str], place: Placement) -> dict[str, str]:
    return {**labels, REPLAY: place.label}


def _renamed(labels: Mapping[str, str], place: Placement) -> dict[str, str]:
    return {name: place.trace_id(value) if name in ("trace_id", "traceID") else value for name, value in labels.items()}


def _batches(fields: Iterator[tuple[int, bytes]]) -> Iterator[tuple[int, list[bytes]]]:
    """Portions of about BATCH_BYTES, each with the number of samples in it."""
    batch: list[bytes] = []
    count = size = 0
    for samples, encoded in fields:
        batch.append(encoded)
        count += samples
        size += len(encoded)
        if size >= BATCH_BYTES:
            yield count, batch
            batch, count, size = [], 0, 0
    if batch:
        yield count, batch
