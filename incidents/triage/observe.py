"""Reading the backends: everything that triage looks at, in both windows, at once.

Owns what is asked and how many answers are enough. A backend that gives none costs its part of the evidence, and is
evidence itself. Refuses to judge.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from incidents.observe import BackendError, Backends, LogLine, Unreached
from incidents.trace import Span
from incidents.triage.figures import Figure, Samples
from incidents.triage.rules import Rules
from incidents.triage.versions import QUERIES, Builds
from incidents.triage.windows import Window, Windows, build_windows

AT_ONCE = 4
"""Questions to one backend at a time: they wait for one another, not for those to other backends."""
PATIENCE = 2
"""Silences before a backend that has not answered once is asked no more."""
READ_S = 15.0
"""After so long nothing more is asked: an answer now, from what was read, is worth more than a whole one later."""
LEAST_HALF_S = 10.0
TRACES = 60
"""Traces of one search. Searches are spread over a window, so that a few hundred of them stand for all of it."""
SLICES = 3
LINES = 1_500
# Scrapes a second. Where the window before has less than this share of those now, the system is younger than it.
COVERED, LEAST_COVERED = "max(count_over_time(up[$w])) / $s", 0.25
BEGAN = "prometheus_tsdb_lowest_timestamp_seconds"
# The canonical line of each request is at INFO: what is routine says nothing new.
NOTEWORTHY = '{service_name=~".+"} | severity_text!~`(?i)info|debug` | detected_level!~`info|debug`'

T = TypeVar("T")
Say = Callable[[str], None]


@dataclass
class Observation:
    """What was read. `missing` names each backend that gave no answer, and why."""

    windows: Windows
    figures: list[Figure] = field(default_factory=list)
    builds: Builds | None = None
    traces: tuple[list[list[Span]], list[list[Span]]] = ((), ())  # type: ignore[assignment]
    failing: tuple[list[list[Span]], list[list[Span]]] = ((), ())  # type: ignore[assignment]
    lines: tuple[list[LogLine], list[LogLine]] = ((), ())  # type: ignore[assignment]
    missing: dict[str, str] = field(default_factory=dict)
    unreached: set[str] = field(default_factory=set)
    no_baseline: bool = False
    """The window before has (nearly) no samples: the system is younger than that."""


class Reader:
    """Reads one pair of windows. Use once."""

    def __init__(self, backends: Backends, windows: Windows, rules: Rules, say: Say) -> None:
        self._backends = backends
        self._windows = windows
        self._rules = rules
        self._say = say
        self._turns: dict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(AT_ONCE))
        self._found = Observation(windows)
        self._answers: Counter[str] = Counter()
        self._silences: Counter[str] = Counter()
        self._ends = time.monotonic() + READ_S

    async def read(self) -> Observation:
        """Everything. Never raises for a backend that does not answer."""
        self._say("reading figures, traces and log lines of two windows")
        await asyncio.gather(self._figures(), self._builds(), self._traces(), self._lines(), self._reach_pager())
        self._found.unreached = self._silent()
        return self._found

    async def _figures(self) -> None:
        detectors = self._rules.detectors
        answers = await asyncio.gather(*(self._both(detector.query) for detector in detectors))
        self._found.figures = [
            Figure(detector, self._fill(detector.query, self._windows.now), *answer)
            for detector, answer in zip(detectors, answers, strict=True)
        ]
        (seen_now, seen_before) = await self._both(COVERED)
        self._found.no_baseline = bool(seen_now) and (
            not seen_before or seen_before[0][1] < LEAST_COVERED * seen_now[0][1]
        )
        self._say(f"{len(detectors)} figures compared")

    async def _builds(self) -> None:
        answers = await asyncio.gather(*(self._both(query) for query in QUERIES.values()))
        asked = {name: self._fill(query, self._windows.now) for name, query in QUERIES.items()}
        now, before = ({name: pair[at] for name, pair in zip(QUERIES, answers, strict=True)} for at in (0, 1))
        self._found.builds = Builds(now, before, asked)

    async def _traces(self) -> None:
        services = await self._guarded("jaeger", self._backends.services(), [])
        known = [one for one in services if one in self._rules.topology.needs or one in _callees(self._rules)]
        entrance = next((one for one in self._rules.topology.needs if one in known), None)
        sides = []
        for window in (self._windows.now, self._windows.before):
            searches = [self._search(entrance, part, {}) for part in _slices(window)] if entrance else []
            failing = [self._search(service, window, {"error": "true"}) for service in known]
            sides += [asyncio.gather(*searches), asyncio.gather(*failing)]
        now, failing_now, before, failing_before = [_distinct(found) for found in await asyncio.gather(*sides)]
        self._found.traces, self._found.failing = (now, before), (failing_now, failing_before)
        self._say(f"{len(now) + len(before)} traces read, {len(failing_now) + len(failing_before)} failing ones beside")

    async def _search(self, service: str, window: Window, tags: dict[str, str]) -> list[list[Span]]:
        asked = self._backends.search_traces(service, window.start, window.end, TRACES, tags)
        return await self._guarded("jaeger", asked, [])

    async def _lines(self) -> None:
        now, before = self._windows.now, self._windows.before
        self._found.lines = await asyncio.gather(self._log_lines(now), self._log_lines(before))
        self._say(f"{sum(map(len, self._found.lines))} log lines read")

    async def _log_lines(self, window: Window) -> list[LogLine]:
        return await self._guarded("loki", self._backends.log_lines(NOTEWORTHY, window.start, window.end, LINES), [])

    async def _reach_pager(self) -> None:
        await self._guarded("pager", self._backends.pages(self._windows.now.end), [])

    async def _both(self, query: str) -> tuple[Samples, Samples]:
        now, before = await asyncio.gather(self._at(query, self._windows.now), self._at(query, self._windows.before))
        return now, before

    async def _at(self, query: str, window: Window) -> Samples:
        asked = self._backends.query(self._fill(query, window), at=window.end)
        return await self._guarded("prometheus", asked, [])

    def _fill(self, query: str, window: Window) -> str:
        length_s = max(round(window.length_s), 1)
        half_s = max(round(window.length_s / 2), round(min(LEAST_HALF_S, window.length_s)))
        now_s = round(self._windows.now.length_s)
        for name, value in (("$w", f"{length_s}s"), ("$h", f"{half_s}s"), ("$s", f"{length_s}"), ("$n", f"{now_s}")):
            query = query.replace(name, value)
        return query

    async def _guarded(self, backend: str, asked: Coroutine[Any, Any, T], otherwise: T) -> T:
        """The answer, or `otherwise` and a note.

        A few at once, and no more once a backend has given nothing but silence: triage is no burden to who is ill.
        """
        async with self._turns[backend]:
            if self._silences[backend] >= PATIENCE and not self._answers[backend]:
                asked.close()
                return otherwise
            if time.monotonic() > self._ends:
                asked.close()
                self._found.missing.setdefault(backend, f"{backend} did not answer everything within {READ_S:g} s")
                return otherwise
            try:
                answer = await asked
                self._answers[backend] += 1
                return answer
            except BackendError as error:
                self._found.missing.setdefault(backend, str(error))
                if isinstance(error, Unreached):
                    self._silences[backend] += 1
                else:
                    self._answers[backend] += 1
            return otherwise

    def _silent(self) -> set[str]:
        """Backends that never answered. One silence among many answers is a busy machine."""
        return {backend for backend in self._silences if not self._answers[backend]}


async def observe_pages(backends: Backends) -> list[dict[str, Any]]:
    """Every page and ticket that the pager holds, the newest first; none when it does not answer."""
    with suppress(BackendError):
        return await backends.pages(0.0)
    return []


async def observe_windows(
    backends: Backends,
    at: float,
    *,
    length_s: float | None = None,
    onset_at: float | None = None,
    pages: list[dict[str, Any]],
) -> Windows:
    """As `build_windows`, of a system that may be younger than the calm before its earlier troubles. Prometheus is only
    asked where there were some; when it does not answer, nothing is known of that."""
    ask = partial(build_windows, backends.clock, at, length_s=length_s, onset_at=onset_at)
    windows = ask(pages=pages)
    if windows == ask():
        return windows
    with suppress(BackendError):
        began = [value for _, value in await backends.query(BEGAN, at=at)]
        return ask(pages=pages, since=min(began, default=0.0))
    return windows


def _callees(rules: Rules) -> set[str]:
    return {one for needed in rules.topology.needs.values() for one in needed}


def _slices(window: Window) -> list[Window]:
    step = window.length_s / SLICES
    return [Window(window.start + step * part, window.start + step * (part + 1)) for part in range(SLICES)]


def _distinct(found: list[list[list[Span]]]) -> list[list[Span]]:
    return list({spans[0].trace_id: spans for part in found for spans in part if spans}.values())
