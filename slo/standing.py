"""How promises stand right now: budget, burn, time to exhaustion, firing alerts, as a Prometheus has recorded them.

Owns which recorded series say it, and the verdict: without data a promise is never met. Refuses to know any terminal.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from slo.emit import promql
from slo.model import Promise
from slo.prometheus import Course, Prometheus

POINTS = 24  # of each course

Verdict = Literal["met", "exhausted", "no data"]
ALERT_STATES = 'ALERTS{alertstate="firing",slo!=""}'


@dataclass(frozen=True)
class Standing:
    """One promise at one moment. None is "no data", never zero."""

    promise: Promise
    remaining_ratio: float | None  # of the period's budget; below zero when overspent
    error_ratio: float | None  # over the period
    burn_now: float | None  # multiples of what the budget can bear, over the shortest window
    burn_head: float | None  # over the shortest long window
    exhausted_in_s: float | None  # at the pace of that window; None: never, or not known
    firing: tuple[str, ...]
    burn_course: tuple[float | None, ...]  # the shortest window, over the time that was asked for
    budget_course: tuple[float | None, ...]

    @property
    def verdict(self) -> Verdict:
        """Met only with data of the period and of now."""
        if self.remaining_ratio is None or self.burn_now is None:
            return "no data"
        return "met" if self.remaining_ratio > 0 else "exhausted"


def observe_standings(
    prometheus: Prometheus, promises: Iterable[Promise], *, clock: float = 1.0, since_s: float = 6 * 3600.0
) -> list[Standing]:
    """Ask for all promises at once; `since_s` is how far the courses reach back. Raises NoPrometheus."""
    promises = list(promises)
    names = {promql.PERIOD_BUDGET_REMAINING, promql.CURRENT_BURN_RATE, promql.PERIOD_BURN_RATE}
    names |= {
        promql.ratio_name(window) for promise in promises for window in (promise.windows.head, promise.windows.period)
    }
    found: dict[tuple[str, str], float] = {}
    for sample in prometheus.query(f'{{__name__=~"{"|".join(sorted(names))}",slo!=""}}'):
        found[sample.labels.get("slo", ""), sample.labels.get("__name__", "")] = sample.value
    firing: dict[str, set[str]] = {}
    for sample in prometheus.query(ALERT_STATES):
        firing.setdefault(sample.labels["slo"], set()).add(sample.labels.get("alertname", "?"))
    burns = _courses(prometheus, promql.CURRENT_BURN_RATE, since_s)
    budgets = _courses(prometheus, promql.PERIOD_BUDGET_REMAINING, since_s)
    nothing = (None,) * POINTS
    standings = []
    for promise in promises:
        ask = promise.at_clock(clock)
        remaining = found.get((promise.name, promql.PERIOD_BUDGET_REMAINING))
        head = found.get((promise.name, promql.ratio_name(ask.windows.head)))
        burn_head = None if head is None else head / float(promise.budget)
        standings.append(
            Standing(
                promise,
                remaining,
                found.get((promise.name, promql.ratio_name(ask.windows.period))),
                found.get((promise.name, promql.CURRENT_BURN_RATE)),
                burn_head,
                _exhausted_in_s(remaining, burn_head, ask.windows.period.length.total_seconds()),
                tuple(sorted(firing.get(promise.name, ()))),
                burns.get(promise.name, nothing),
                budgets.get(promise.name, nothing),
            )
        )
    return standings


def _exhausted_in_s(remaining: float | None, burn: float | None, period_s: float) -> float | None:
    """A budget lasts one period at burn 1. What comes back as old errors leave the window is not counted."""
    if remaining is None or burn is None:
        return None
    if remaining <= 0:
        return 0.0
    return remaining * period_s / burn if burn > 0 else None


def _courses(prometheus: Prometheus, name: str, since_s: float) -> dict[str, tuple[float | None, ...]]:
    step_s = since_s / (POINTS - 1)
    courses = prometheus.query_range(f'{name}{{slo!=""}}', since_s, step_s)
    newest_s = max((course.samples[-1][0] for course in courses if course.samples), default=0.0)
    return {course.labels["slo"]: _points(course, newest_s, step_s) for course in courses}


def _points(course: Course, newest_s: float, step_s: float) -> tuple[float | None, ...]:
    """One value a step up to the newest of all series, None where there was none."""
    at = {round((newest_s - moment) / step_s): value for moment, value in course.samples}
    return tuple(at.get(POINTS - 1 - index) for index in range(POINTS))
