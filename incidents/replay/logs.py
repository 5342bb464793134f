"""A bundle's log lines → the local Loki, by its push API.

Owns marking, moving and batching, and leaving out what is there already. Every replayed stream is one of its own, by
its label: Loki takes no line that is much older than the newest of its stream.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

from incidents.bundle.form import Line
from incidents.capture.logs import Logs
from incidents.capture.moments import Slice
from incidents.capture.otlp import REPLAY
from incidents.capture.source import Source
from incidents.replay.placement import Placement
from incidents.replay.receiver import Receiver

BATCH_BYTES = 512 * 1024
LOOKS, LOOK_AGAIN_S = 3, 1.0


async def load_lines(
    lines: Iterator[Line], expected: int, place: Placement, receiver: Receiver, source: Source
) -> AsyncIterator[tuple[int, int]]:
    """Send those of the ``expected`` lines that are not there yet; tells how many were sent and how many were there.

    Loki may leave lines out of an answer while it writes them to disk, and would count what is sent again twice: where
    only some seem to be there, it is asked again. Raises ReplayError.
    """
    there = await _present(place, source)
    for _ in range(LOOKS - 1):
        if there.total() in (0, expected):
            break
        await asyncio.sleep(LOOK_AGAIN_S)
        there |= await _present(place, source)
    sent = present = size = 0
    streams: dict[tuple[tuple[str, str], ...], list[Any]] = {}
    for line in lines:
        moved = move(line, place)
        if there[_identity(moved)] > 0:
            there[_identity(moved)] -= 1
            present += 1
            continue
        streams.setdefault(tuple(sorted(moved.labels.items())), []).append(
            [str(moved.at_ns), moved.text, moved.metadata]
        )
        sent += 1
        size += len(moved.text) + 200
        if size > BATCH_BYTES:
            await _push(streams, receiver)
            streams, size = {}, 0
            yield sent, present
    if streams:
        await _push(streams, receiver)
    yield sent, present


async def count_lines(place: Placement, source: Source) -> int:
    """How many lines of this replay Loki has. Raises SourceError and TooMuch."""
    span_ms = place.end_ms - place.start_ms + 1
    query = f'sum(count_over_time({{{REPLAY}="{place.label}"}}[{span_ms}ms]))'
    answer = await source.get("/loki/api/v1/query", {"query": query, "time": str(place.end_ms * 1_000_000 + 999_999)})
    return sum(int(one["value"][1]) for one in answer["data"]["result"])


def move(line: Line, place: Placement) -> Line:
    """The line as it is here: its time, its mark, and the ids of its trace."""
    return Line(
        at_ns=line.at_ns + place.shift_ms * 1_000_000,
        labels={**line.labels, REPLAY: place.label},
        metadata={name: place.text(value) for name, value in line.metadata.items()},
        text=place.text(line.text),
    )


async def _push(streams: dict[tuple[tuple[str, str], ...], list[Any]], receiver: Receiver) -> None:
    document = {"streams": [{"stream": dict(labels), "values": values} for labels, values in streams.items()]}
    await receiver.post("/loki/api/v1/push", json.dumps(document).encode(), {"Content-Type": "application/json"})


async def _present(place: Placement, source: Source) -> Counter[int]:
    """What Loki has of this replay, by identity."""
    there: Counter[int] = Counter()
    chosen = Logs(source, f'{{{REPLAY}="{place.label}"}}')
    async for _, page in chosen.lines(Slice(place.start_ms, place.end_ms)):
        there.update(map(_identity, page))
    return there


def _identity(line: Line) -> int:
    return hash((line.at_ns, line.text, frozenset(line.labels.items()), frozenset(line.metadata.items())))
