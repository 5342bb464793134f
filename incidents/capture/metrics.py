"""Raw samples and exemplars out of a Prometheus, at the resolution in which it has them.

Owns the way of asking: names first, then range selectors over few names and little time, halved where an answer would
be too large. Refuses to know bundles and redaction. Histograms are the classic ones; native ones are counted and left.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

from incidents.bundle.form import Exemplar, Exemplars, Series
from incidents.capture.moments import Slice
from incidents.capture.source import Source, SourceError, TooMuch

EVERYTHING = '{__name__=~".+",replay=""}'
"""All series but those that a replay brought."""
NAMES_AT_ONCE = 40
MS_AT_ONCE = 300_000
"""Prometheus' own look-back: at the end of a piece it can be asked which of its series have ended."""
LEAST_MS = 1_000
_SELECTOR = re.compile(r"\s*(?P<name>[a-zA-Z_:][\w:]*)?\s*(?:\{(?P<matchers>.*)\})?\s*", re.DOTALL)
_Key = frozenset[tuple[str, str]]


class Metrics:
    """Reads the series that one selector chooses.

    `late`: they may have come long after their time. Of such Prometheus tells no names by time, so all are asked for.
    """

    def __init__(self, source: Source, selector: str = EVERYTHING, *, late: bool = False) -> None:
        self.selector = selector
        self.late = late
        self.native_histograms = 0
        self._source = source
        self._matchers = _parse_matchers(selector)

    async def names(self, slice_: Slice) -> list[str]:
        """Names of the metrics that have series in the slice."""
        bounds = {} if self.late else _bounds(slice_)
        answer = await self._source.get("/api/v1/label/__name__/values", {"match[]": self._among(), **bounds})
        return [str(name) for name in answer["data"]]

    async def series(self, slice_: Slice) -> AsyncIterator[tuple[float, list[Series]]]:
        """Portions of samples with the share that is done. A series comes in several records, in order of time."""
        names = await self.names(slice_)
        batches = [names[at : at + NAMES_AT_ONCE] for at in range(0, len(names), NAMES_AT_ONCE)]
        pieces = _pieces(slice_)
        for number, piece in enumerate(pieces):
            for position, batch in enumerate(batches):
                share = (number + position / len(batches)) / len(pieces)
                async for portion in self._samples(batch, piece):
                    yield share, portion

    async def exemplars(self, slice_: Slice) -> AsyncIterator[list[Exemplars]]:
        """Exemplars of the chosen series. A Prometheus that keeps none answers with none."""
        for piece in _pieces(slice_):
            for data in await self._ask_exemplars(piece):
                found = [
                    Exemplar(at_ms=at, value=str(one["value"]), labels=one["labels"])
                    for one in data["exemplars"]
                    if piece.start_ms <= (at := round(float(one["timestamp"]) * 1000)) <= piece.end_ms
                ]
                if found:
                    found.sort(key=lambda one: one.at_ms)
                    yield [Exemplars(series=data["seriesLabels"], exemplars=found)]

    async def _samples(self, names: list[str], piece: Slice) -> AsyncIterator[list[Series]]:
        try:
            answer = await self._ask(names, piece)
        except TooMuch:
            async for portion in self._halves(names, piece):
                yield portion
            return
        alive = await self._alive(names, piece)
        portion = []
        for entry in answer["data"]["result"]:
            self.native_histograms += "histograms" in entry
            # Prometheus 2 includes the sample at the far end of a range, 3 does not: our own bounds decide.
            pairs = [
                (at, value)
                for moment, value in entry.get("values", ())
                if piece.start_ms <= (at := round(moment * 1000)) <= piece.end_ms
            ]
            if pairs:
                times_ms, values = map(list, zip(*pairs, strict=True))
                ended_ms = None if alive is None or _key(entry["metric"]) in alive else _end(times_ms, piece)
                portion.append(Series(labels=entry["metric"], times_ms=times_ms, values=values, ended_ms=ended_ms))
        yield portion

    async def _alive(self, names: list[str], piece: Slice) -> set[_Key] | None:
        """The series that are not stale at the end of a piece; None where that is too much to ask."""
        selector = self._among(_named(names))
        try:
            answer = await self._source.get("/api/v1/query", {"query": selector, "time": f"{piece.end_ms / 1000:.3f}"})
        except TooMuch:
            return None
        return {_key(entry["metric"]) for entry in answer["data"]["result"]}

    async def _halves(self, names: list[str], piece: Slice) -> AsyncIterator[list[Series]]:
        """The same in two smaller portions: of the time first, so that a series stays in order; then of the names."""
        if piece.end_ms - piece.start_ms > LEAST_MS:
            for half in _halve(piece):
                async for portion in self._samples(names, half):
                    yield portion
        elif len(names) > 1:
            for few in (names[: len(names) // 2], names[len(names) // 2 :]):
                async for portion in self._samples(few, piece):
                    yield portion
        else:
            raise SourceError(f"prometheus: one second of {names[0]} is too large to be read. Choose with --metrics")

    async def _ask(self, names: list[str], piece: Slice) -> Any:
        selector = self._among(_named(names))
        span_ms = piece.end_ms - piece.start_ms + 1
        return await self._source.get(
            "/api/v1/query", {"query": f"{selector}[{span_ms}ms]", "time": f"{piece.end_ms / 1000:.3f}"}
        )

    async def _ask_exemplars(self, piece: Slice) -> list[Any]:
        try:
            answer = await self._source.get("/api/v1/query_exemplars", {"query": self._among(), **_bounds(piece)})
        except TooMuch:
            if piece.end_ms - piece.start_ms <= LEAST_MS:
                raise SourceError("prometheus: one second of exemplars is too large to be read") from None
            return [data for half in _halve(piece) for data in await self._ask_exemplars(half)]
        return list(answer["data"] or ())

    def _among(self, *more: str) -> str:
        return "{" + ",".join((*self._matchers, *more)) + "}"


def _parse_matchers(selector: str) -> tuple[str, ...]:
    found = _SELECTOR.fullmatch(selector)
    if found is None or not (found["name"] or found["matchers"]):
        raise SourceError(f'{selector[:80]!r} is no series selector. Write one like {{job="api"}}')
    name = (f'__name__="{found["name"]}"',) if found["name"] else ()
    matchers = (found["matchers"].strip().rstrip(","),) if (found["matchers"] or "").strip() else ()
    return (*name, *matchers)


def _named(names: list[str]) -> str:
    """The matcher of these names."""
    chosen = "|".join(re.escape(name).replace("\\", "\\\\") for name in names)
    return f'__name__=~"{chosen}"'


def _key(labels: dict[str, str]) -> _Key:
    return frozenset(labels.items())


def _end(times_ms: list[int], piece: Slice) -> int | None:
    """When a series that is stale at the end of the piece became so: one interval after its last sample."""
    last = times_ms[-1]
    ended = last + (last - times_ms[-2] if len(times_ms) > 1 else LEAST_MS)
    return min(ended, piece.end_ms) if last < piece.end_ms else None


def _pieces(slice_: Slice) -> list[Slice]:
    starts = range(slice_.start_ms, slice_.end_ms + 1, MS_AT_ONCE)
    return [Slice(at, min(at + MS_AT_ONCE - 1, slice_.end_ms)) for at in starts]


def _halve(piece: Slice) -> tuple[Slice, Slice]:
    middle = (piece.start_ms + piece.end_ms) // 2
    return Slice(piece.start_ms, middle), Slice(middle + 1, piece.end_ms)


def _bounds(slice_: Slice) -> dict[str, str]:
    return {"start": f"{slice_.start_ms / 1000:.3f}", "end": f"{slice_.end_ms / 1000:.3f}"}
