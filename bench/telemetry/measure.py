"""Interleaved rounds and what follows from them: the extra CPU time a request of each mode over the bare service.

Owns the order of the turns, the check that nothing was lost in them, and the arithmetic. Knows nothing of processes.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

from bench.telemetry.load import Failed, Load, Route, drive
from bench.telemetry.subjects import Subject

TURN_S = 0.5  # a machine of others is faster now and slower then: turns of three seconds differ three times as much
ARRIVAL_LIMIT_S = 10.0
QUIET_S = 1.0  # after the last arrival: the door converts and delivers within two ticks of 0.3 s at most
RESAMPLES = 2000
ATTEMPTS = 3  # the pools of connections may still grow, and what is asked on a new one is a span


@dataclass(frozen=True)
class Figures:
    """CPU µs a request: of the bare service, and what each mode adds, with the half width of its 95 % interval."""

    bare_us: float
    extra_us: Mapping[str, float]
    ci95_us: Mapping[str, float]
    pairs: int


def warm_up(route: Route, subject: Subject) -> None:
    """Fill caches and pools."""
    asyncio.run(drive(subject.port, replace(route, rate_per_s=5000), route.warm_up, 0, subject.token))
    _settled(subject)


def spans_of_one(route: Route, subject: Subject) -> int:
    """How many spans one request of the route makes in this mode, after ``warm_up``."""
    if subject.mode == "bare":
        return 0
    for _ in range(ATTEMPTS):
        before = _settled(subject)
        asyncio.run(drive(subject.port, route, 10, 0, subject.token))
        made = _settled(subject) - before
        if made % 10 == 0:
            return made // 10
    raise Failed(f"{subject.mode}: ten requests of {route.name} made {made} spans")


def run_round(
    route: Route,
    subjects: Mapping[str, Subject],
    order: Sequence[str],
    spans: Mapping[str, int],
    requests: int,
    seed: int,
) -> dict[str, float]:
    """Drive every mode once with so many requests, in turns; CPU µs a request by mode. Raises Failed when a span, a
    count or a line is missing.
    """
    before = {mode: _counts(route, subject) for mode, subject in subjects.items()}
    spent = {mode: -subject.cpu_us() for mode, subject in subjects.items()}
    asyncio.run(_take_turns(route, subjects, order, requests, seed))
    for subject in subjects.values():
        subject.flush()
    time.sleep(QUIET_S)
    for mode, subject in subjects.items():
        spent[mode] += subject.cpu_us()
    for mode, subject in subjects.items():
        if mode == "bare":
            continue
        counted, arrived, lines = before[mode]
        _expect("spans", subject, subject.spans_arrived, arrived + requests * spans[mode])
        _expect("lines", subject, subject.lines_written, lines + requests)
        # Last: where the wiring logs every path, a read of /metrics writes a line too.
        _expect("requests", subject, lambda of=subject: of.requests_counted(route.template), counted + requests)
        if mode != "stock" and not subject.exemplars(route.template):
            raise Failed(f"{mode}: no exemplar on {route.template}")
    return {mode: spent_us / requests for mode, spent_us in spent.items()}


def _counts(route: Route, subject: Subject) -> tuple[int, int, int]:
    """Requests, spans and lines until now."""
    counted = subject.requests_counted(route.template) if subject.mode != "bare" else 0
    return counted, subject.spans_arrived(), subject.lines_written()


async def _take_turns(
    route: Route, subjects: Mapping[str, Subject], order: Sequence[str], requests: int, seed: int
) -> None:
    """``requests`` to each mode at the route's rate, a turn of ``TURN_S`` at a time; whoever has no turn stands still,
    so that only what it does while it serves is counted."""
    a_turn = max(1, round(route.rate_per_s * TURN_S))
    async with AsyncExitStack() as open_loads:
        loads = {
            mode: await open_loads.enter_async_context(Load(subject.port, route, seed, subject.token))
            for mode, subject in subjects.items()
        }
        try:
            for subject in subjects.values():
                subject.pause()
            for number, first in enumerate(range(0, requests, a_turn)):
                for mode in order if number % 2 == 0 else reversed(order):
                    subjects[mode].resume()
                    await loads[mode].send(min(a_turn, requests - first))
                    subjects[mode].pause()
        finally:
            for subject in subjects.values():
                subject.resume()


def _expect(what: str, subject: Subject, count: Callable[[], int], wanted: int) -> None:
    deadline = time.monotonic() + ARRIVAL_LIMIT_S
    while (got := count()) != wanted:
        if time.monotonic() > deadline:
            raise Failed(f"{subject.mode}: {got - wanted:+} {what}, against what was made")
        time.sleep(0.1)


def _settled(subject: Subject) -> int:
    """The span count once it no longer grows."""
    time.sleep(
        QUIET_S
    )  # a request is answered before its last span ends, and what ends after a flush waits for the next
    subject.flush()
    last, since = -1, time.monotonic()
    while time.monotonic() - since < 1.0:
        if (now := subject.spans_arrived()) != last:
            last, since = now, time.monotonic()
        time.sleep(0.1)
    return last


def measure(
    route: Route, subjects: Mapping[str, Subject], spans: Mapping[str, int], pairs: int, requests: int, seed: int
) -> dict[str, list[float]]:
    """CPU µs a request by mode: ``pairs`` rounds, in a balanced order. ``spans``: of one request, by mode."""
    taken: dict[str, list[float]] = {mode: [] for mode in subjects}
    for number in range(seed, seed + pairs):
        order = balanced_order(list(subjects), number)
        for mode, each_us in run_round(route, subjects, order, spans, requests, number).items():
            taken[mode].append(each_us)
    return taken


def balanced_order(modes: Sequence[str], number: int) -> list[str]:
    """Round ``number`` of a Williams design: in as many rounds as there are modes (an even number) each mode comes
    once in every place, and once after every other mode, so that what a turn leaves to the next is shared out evenly.
    """
    count = len(modes)
    places = (-(step // 2) if step % 2 == 0 else step // 2 + 1 for step in range(count))
    return [modes[(place + number) % count] for place in places]


def summarize(taken: Mapping[str, list[float]]) -> Figures:
    """Pairs are formed within a round: the extra cost of a mode over the bare service that ran beside it."""
    extra = {
        mode: [seen - bare for seen, bare in zip(values, taken["bare"], strict=True)]
        for mode, values in taken.items()
        if mode != "bare"
    }
    return Figures(
        bare_us=statistics.median(taken["bare"]),
        extra_us={mode: statistics.median(values) for mode, values in extra.items()},
        ci95_us={mode: half_width(values) for mode, values in extra.items()},
        pairs=len(taken["bare"]),
    )


def half_width(values: Iterable[float]) -> float:
    """Half of the 95 % interval of the median, by bootstrap with a fixed seed."""
    pool, draw = list(values), random.Random(0)
    medians = sorted(statistics.median(draw.choices(pool, k=len(pool))) for _ in range(RESAMPLES))
    return (medians[int(RESAMPLES * 0.975)] - medians[int(RESAMPLES * 0.025)]) / 2
