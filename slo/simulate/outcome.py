"""Running a course of traffic and errors, and what came of it.

Owns the order of things: healthy history, the course, and the quiet after it until every alert has stopped. Scrapes and
evaluations fall on the same moments here; in life they do not, which is the one evaluation interval of difference.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from slo.model import Promise, Tier
from slo.quantities import Step
from slo.simulate.meter import MILLISECOND, Meter, build_meter, holds
from slo.simulate.sources import Counts, Course

SCRAPE = timedelta(seconds=15)
LONGEST = timedelta(days=31)
NO_DATA = "no data"


@dataclass(frozen=True)
class Episode:
    """An alert from the first evaluation at which it fires to the first at which it does not."""

    alert: str  # page, ticket or NO_DATA
    tier: Tier | None  # the one that fired first
    fires_s: float  # from the beginning of the course
    resets_s: float | None  # None: still firing at the end
    spent_ratio: float  # of the period's budget, when it fired


@dataclass(frozen=True)
class Outcome:
    """What came of a course, in seconds from its beginning."""

    episodes: tuple[Episode, ...]
    duration_s: float
    ended_s: float
    total_events: float
    bad_events: float
    spent_ratio: float | None  # None: errors, and no traffic at the beginning that would say how large the budget is
    interval_s: float

    def first(self, alert: str) -> Episode | None:
        """The first episode of an alert."""
        return next((episode for episode in self.episodes if episode.alert == alert), None)


def simulate(
    promise: Promise,
    errors: Sequence[Step],
    traffic: Sequence[Step],
    duration: timedelta,
    *,
    history: timedelta | None = None,
    quiet: timedelta | None = None,
    scrape: timedelta = SCRAPE,
    progress: Callable[[float], None] = lambda share: None,
) -> Outcome:
    """Judge a course. `history` is the healthy time before it and `quiet` the most that is looked at after it, the
    longest window unless told. Raises ValueError for more days than are simulated."""
    table = promise.windows
    before = table.windows[-1].length if history is None else history
    if max(duration, before) > LONGEST:
        raise ValueError(f"more than {LONGEST.days} days are not simulated; shorten the course")
    interval_ms = table.interval // MILLISECOND
    start_ms = -(-before // table.interval) * interval_ms
    end_ms = start_ms + duration // MILLISECOND
    rate = _course(traffic, start_ms, None, before=traffic[0].value)
    share = _course(errors, start_ms, end_ms, before=0.0)
    meter = build_meter(promise, scrape, rate, share)
    budget = float(promise.budget) * meter.per_period()
    watch = _Watch(start_ms)
    latest_ms = end_ms + (table.windows[-1].length if quiet is None else quiet) // MILLISECOND
    now_ms, counted = 0, Counts(0.0, 0.0, 0.0)
    while True:
        meter.evaluate(now_ms)
        if now_ms >= start_ms:
            if now_ms % (2000 * interval_ms) == 0:
                progress((now_ms - start_ms) / max(latest_ms - start_ms, 1))
            so_far = meter.since(start_ms, now_ms)
            counted = so_far if now_ms <= end_ms else counted
            watch.note(now_ms, _pending(promise, meter, now_ms), so_far.bad / budget if budget else 0.0)
        if now_ms >= latest_ms or (now_ms >= end_ms and not watch.open):
            break
        now_ms += interval_ms
    return Outcome(
        watch.episodes(),
        duration.total_seconds(),
        (now_ms - start_ms) / 1000,
        counted.total,
        counted.bad,
        counted.bad / budget if budget else 0.0 if not counted.bad else None,
        interval_ms / 1000,
    )


class _Watch:
    """Alerts that fire, from when to when: once their condition has held for as long as they wait."""

    def __init__(self, start_ms: int) -> None:
        self._start_ms = start_ms
        self._since: dict[str, int] = {}
        self.open: dict[str, Episode] = {}
        self._closed: list[Episode] = []

    def note(self, now_ms: int, pending: dict[str, tuple[Tier | None, int]], spent_ratio: float) -> None:
        at_s = (now_ms - self._start_ms) / 1000
        self._since = {alert: self._since.get(alert, now_ms) for alert in pending}
        firing = {alert: tier for alert, (tier, wait_ms) in pending.items() if now_ms - self._since[alert] >= wait_ms}
        for alert, tier in firing.items():
            self.open.setdefault(alert, Episode(alert, tier, at_s, None, spent_ratio))
        for alert in [alert for alert in self.open if alert not in firing]:
            begun = self.open.pop(alert)
            self._closed.append(Episode(begun.alert, begun.tier, begun.fires_s, at_s, begun.spent_ratio))

    def episodes(self) -> tuple[Episode, ...]:
        found = [*self._closed, *self.open.values()]
        return tuple(sorted(found, key=lambda episode: (episode.fires_s, episode.alert)))


def _pending(promise: Promise, meter: Meter, now_ms: int) -> dict[str, tuple[Tier | None, int]]:
    """The alerts whose condition holds, by which tier, and for how many milliseconds it must hold before they fire."""
    pending: dict[str, tuple[Tier | None, int]] = {}
    for severity in promise.severities:
        for tier in promise.tiers(severity):
            if holds(meter, tier):
                pending.setdefault(severity, (tier, tier.alert_after // MILLISECOND))
    if promise.tells_missing_data and promise.liveness == "zero" and meter.still(now_ms):
        pending[NO_DATA] = (None, promise.windows.liveness_for // MILLISECOND)
    return pending


def _course(steps: Sequence[Step], start_ms: int, end_ms: int | None, *, before: float) -> Course:
    """The value at a moment: `before` the start, step after step, the last one on and on, or nothing after the end."""
    moments, values = [start_ms], [before]
    for step in steps:
        values.append(step.value)
        if step.length is None:
            break
        moments.append(moments[-1] + step.length // MILLISECOND)
    values += [values[-1]] * (len(moments) + 1 - len(values))

    def value_at(moment_ms: int) -> float:
        if end_ms is not None and moment_ms >= end_ms:
            return 0.0
        return values[bisect_right(moments, moment_ms)]

    return value_at
