"""A replay: check → place → load each backend → look whether it is all there.

Owns that order: nothing is loaded before all of the bundle was found good. Refuses to know options.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import httpx

from incidents.bundle import form
from incidents.bundle.form import Trace
from incidents.bundle.read import Bundle
from incidents.capture.moments import emit_time
from incidents.capture.source import Source
from incidents.progress import Progress
from incidents.replay import logs, metrics, traces
from incidents.replay.links import Telling, build_links
from incidents.replay.placement import Placement, choose
from incidents.replay.receiver import Receiver, ReplayError

SETTLE_S = 10.0
"""A backend may need this long until it tells of what it has taken."""
_TRACE_KEYS = frozenset(("trace_id", "traceID", "traceId", "traceid"))


@dataclass
class Outcome:
    """What came of a replay; `present` was there already, from the same replay before."""

    bundle: str
    replay: str
    start: str
    end: str
    shift_s: float
    loaded: dict[str, int] = field(default_factory=dict)
    present: dict[str, int] = field(default_factory=dict)
    took_s: float = 0.0
    links: dict[str, str] = field(default_factory=dict)
    drive: dict[str, Any] | None = None

    def document(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


@dataclass
class Replay:
    """One bundle against one set of local backends: `urls` of their query sides, `receivers` where those differ."""

    bundle: Bundle
    urls: Mapping[str, str]
    receivers: Mapping[str, str]
    progress: Progress
    client: httpx.AsyncClient

    def check(self) -> None:
        """Read the whole bundle once. Raises BundleError."""
        total = sum(part.bytes for part in self.bundle.manifest.parts.values()) or 1
        read = 0

        def on_bytes(count: int) -> None:
            nonlocal read
            before, read = read * 50 // total, read + count
            if read * 50 // total != before:
                self.progress.now(f"checking the bundle: {read / total:.0%}")

        self.bundle.check(on_bytes)

    async def load(self, at_ms: int | None) -> Outcome:
        """Load everything; what is there already stays as it is. Raises ReplayError, SourceError and NoPlace."""
        began = time.monotonic()
        manifest = self.bundle.manifest
        missing = [name for name in self._wanted() if not self.urls.get(name)]
        if missing:
            raise ReplayError(f"no address of {', '.join(missing)}. Start the stack with `signalbox up`")
        prometheus = self._source("prometheus")

        async def is_taken(place: Placement) -> bool:
            return await metrics.is_taken(place, prometheus)

        place = await choose(manifest, at_ms, int(time.time() * 1000), is_taken)
        place.trace_ids.update(self._trace_ids() if place.shift_ms else ())
        where = f"{emit_time(place.start_ms)} to {emit_time(place.end_ms)}"
        moved = f", moved by {place.shift_ms / 1000:+.0f} s" if place.shift_ms else ", the time it is from"
        self.progress.phase("replay", f'{where}{moved}; replay="{place.label}"')
        outcome = Outcome(
            manifest.id, place.label, emit_time(place.start_ms), emit_time(place.end_ms), place.shift_ms / 1000
        )
        telling = Telling()
        await self._load_metrics(place, outcome)
        await self._follow("lines", form.LOGS, self._lines(place), outcome)
        await self._follow("traces", form.TRACES, self._traces(place, telling), outcome)
        await self._verify(place)
        outcome.links = build_links(self.urls, place, telling.trace_id(place))
        outcome.took_s = round(time.monotonic() - began, 2)
        return outcome

    async def _load_metrics(self, place: Placement, outcome: Outcome) -> None:
        receiver = self._receiver("prometheus")
        for what, part, steps in (
            ("samples", form.METRICS, metrics.load_samples(self.bundle.series(), place, receiver)),
            ("exemplars", form.EXEMPLARS, metrics.load_exemplars(self.bundle.exemplars(), place, receiver)),
        ):
            async for sent in steps:
                outcome.loaded[what] = sent
                self.progress.now(f"{what}: {sent:,} of {self._count(part, what):,}")
            self._tell(what, outcome)

    async def _follow(self, what: str, part: str, steps: AsyncIterator[tuple[int, int]], outcome: Outcome) -> None:
        async for sent, present in steps:
            outcome.loaded[what], outcome.present[what] = sent, present
            self.progress.now(f"{what}: {sent + present:,} of {self._count(part, what):,}")
        self._tell(what, outcome)

    def _lines(self, place: Placement) -> AsyncIterator[tuple[int, int]]:
        expected = self._count(form.LOGS, "lines")
        return logs.load_lines(self.bundle.lines(), expected, place, self._receiver("loki"), self._source("loki"))

    def _traces(self, place: Placement, telling: Telling) -> AsyncIterator[tuple[int, int]]:
        def watched() -> Iterator[Trace]:
            for trace in self.bundle.traces():
                telling.add(trace)
                yield trace

        return traces.load_traces(watched(), place, self._receiver("jaeger"), self._source("jaeger"))

    async def _verify(self, place: Placement) -> None:
        """A backend may leave something out without a word: whether it is there shows only when it is asked."""
        for what, part, name, count in (
            ("samples", form.METRICS, "prometheus", metrics.count_samples),
            ("lines", form.LOGS, "loki", logs.count_lines),
            ("traces", form.TRACES, "jaeger", traces.count_traces),
        ):
            if not (wanted := self._count(part, what)):
                continue
            deadline = time.monotonic() + SETTLE_S
            while (there := await count(place, self._source(name))) < wanted and time.monotonic() < deadline:
                self.progress.now(f"{what}: {there:,} of {wanted:,} are in {name}")
                await asyncio.sleep(0.5)
            self.progress.say(f"{what}: {there:,} of {wanted:,} are in {name}", ok=there == wanted)
            if there != wanted:
                raise ReplayError(f"{name} has {there} of {wanted} {what}. See its log: `signalbox logs {name}`")

    def _trace_ids(self) -> Iterator[str]:
        """Every id of a trace that the bundle names."""
        for trace in self.bundle.traces():
            yield trace.trace_id
        for line in self.bundle.lines():
            for key in _TRACE_KEYS & line.metadata.keys():
                yield line.metadata[key]

    def _wanted(self) -> list[str]:
        parts = self.bundle.manifest.parts
        needed = {"prometheus": True, "loki": form.LOGS in parts, "jaeger": form.TRACES in parts}
        return [name for name, is_needed in needed.items() if is_needed]

    def _source(self, name: str) -> Source:
        return Source(name, self.urls.get(name, ""), {}, self.client)

    def _receiver(self, name: str) -> Receiver:
        return Receiver(name, self.receivers.get(name) or self.urls.get(name, ""), self.client)

    def _count(self, part: str, what: str) -> int:
        known = self.bundle.manifest.parts.get(part)
        return known.counts.get(what, 0) if known else 0

    def _tell(self, what: str, outcome: Outcome) -> None:
        there = outcome.present.get(what, 0)
        self.progress.say(
            f"{what}: {outcome.loaded.get(what, 0):,} loaded" + (f", {there:,} were there" if there else ""), ok=True
        )
