"""Scenarios of the mistakes that rules of this kind are known for, as the docstring of `slo.emit.recording` has them.

Owns one scenario for each: silence at the objective, restarts, absent series, pauses, uneven and low traffic, missing
data.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

from slo.emit import promql
from slo.emit.alerts import burn_alert_name, liveness_alert_name
from slo.emit.promtool.scenario import BUSY, HOUR, MINUTE, NOTHING, SAMPLE, Scenario
from slo.emit.promtool.series import Traffic
from slo.model import Promise

OVERHEAD = timedelta(seconds=30)


def trap_scenarios(promise: Promise) -> Iterator[Scenario]:
    """What constant errors do not show."""
    yield _at_objective(promise)
    yield _restart(promise)
    yield _absent_series(promise)
    yield _pause(promise)
    yield _uneven_traffic(promise)


def _at_objective(promise: Promise) -> Scenario:
    at_objective = Scenario("errors at the objective alert nobody", [Traffic(2 * HOUR, BUSY, promise.budget)])
    at_objective.silent(HOUR, promise)
    at_objective.silent(2 * HOUR, promise)
    return at_objective


def _restart(promise: Promise) -> Scenario:
    restart = Scenario(
        "a restart that sets the counters to zero neither alerts nor loses events",
        [Traffic(HOUR, BUSY, promise.budget / 2), Traffic(HOUR / 2, BUSY, promise.budget / 2, restarts=True)],
    )
    head = promise.windows.head
    events = float(BUSY) * head.length.total_seconds()
    total = promql.recorded(promql.total_name(head), promise)
    for minutes in (2, 6, 30):
        at = HOUR + minutes * MINUTE
        restart.silent(at, promise)
        restart.holds(at, f"{total} > {events * 0.98:.0f} < {events * 1.02:.0f}")
    return restart


def _absent_series(promise: Promise) -> Scenario:
    base = promql.recorded(promql.ratio_name(promise.windows.base), promise)
    half = HOUR / 2
    if promise.counters and promise.counters.counts == "bad":
        absent = Scenario("no error series yet means no errors", [Traffic(half, BUSY, counted_missing=True)])
        absent.holds(half, f"{base} == 0")
        absent.silent(half, promise)
    else:
        course = [Traffic(half, BUSY, error_ratio=Decimal(1), counted_missing=True)]
        absent = Scenario("no good series means that nothing is good", course)
        absent.holds(half, f"{base} == 1")
        if promise.tiers("page"):
            absent.alert(half, burn_alert_name(promise, "page"), True)
    return absent


def _pause(promise: Promise) -> Scenario:
    base = promql.recorded(promql.ratio_name(promise.windows.base), promise)
    rest = Scenario(
        "an hour without traffic leaves no ratio, and does not poison the windows after it",
        [Traffic(HOUR, BUSY, Decimal("0.5")), Traffic(HOUR, Decimal(0)), Traffic(HOUR, BUSY)],
    )
    rest.checks.append((2 * HOUR, f"count({base}) or {NOTHING}", 0))
    rest.alert(2 * HOUR, burn_alert_name(promise, "page"), False)
    for window in promise.windows.windows[3:]:
        ratio = promql.recorded(promql.ratio_name(window), promise)
        rest.holds(3 * HOUR, f"{ratio} > 0.2 < 0.3" if window.length >= 4 * HOUR else f"{ratio} < 0.01")
    return rest


def _uneven_traffic(promise: Promise) -> Scenario:
    long = max((tier.long for tier in promise.urgent_tiers), key=lambda window: window.length)
    uneven = Scenario(
        "windows weigh events, not minutes",
        [Traffic(long.length / 2, BUSY / 100, Decimal("0.5")), Traffic(long.length / 2, BUSY)],
    )
    # Half of 1 in 101 events; an average of ratios would read a quarter.
    uneven.holds(long.length, f"{promql.recorded(promql.ratio_name(long), promise)} > 0.0045 < 0.0055")
    return uneven


def low_traffic_scenario(promise: Promise) -> Scenario:
    """One event every three minutes: a single error is far above every threshold, and yet no reason to page."""
    gap = 3 * MINUTE
    page = burn_alert_name(promise, "page")
    hourly = HOUR // gap
    thresholds = [promise.threshold(tier) * (tier.long.length // gap) for tier in promise.tiers("page")]
    needed = max(promise.min_bad_events, int(min(thresholds)) + 2)
    one_error = [Traffic(gap - SAMPLE, Decimal(0)), Traffic(SAMPLE, 1 / Decimal(15), Decimal(1))]
    one_event = [Traffic(gap - SAMPLE, Decimal(0)), Traffic(SAMPLE, 1 / Decimal(15))]
    history = hourly
    scenario = Scenario(
        f"with {hourly} events an hour, one error does not page and {needed} do",
        [*one_event * history, *one_error, *one_event * hourly, *one_error * (needed + 1)],
    )
    for minutes in range(0, 60, 5):
        scenario.alert(gap * (history + 1) + minutes * MINUTE, page, False)
    scenario.alert(scenario.length, page, True)
    return scenario


def liveness_scenarios(promise: Promise) -> Iterator[Scenario]:
    """Missing data, no traffic, and a source that is down altogether."""
    name = liveness_alert_name(promise)
    table = promise.windows
    healthy = Traffic(10 * MINUTE, BUSY)
    by = healthy.length + table.liveness_for + OVERHEAD
    missing = Traffic(8 * MINUTE, BUSY, total_missing=True)
    gone = Scenario("the total vanishes while its source is up", [healthy, missing])
    gone.silent(healthy.length, promise)
    gone.alert(by, name, True)
    empty = healthy.length + table.base.length + OVERHEAD
    gone.checks.append((empty, f"count({promql.recorded(promql.ratio_name(table.base), promise)}) or {NOTHING}", 0))
    yield gone

    flat = Scenario("traffic stops", [healthy, Traffic(8 * MINUTE, Decimal(0)), Traffic(5 * MINUTE, BUSY)])
    expected = promise.liveness == "zero"
    flat.alert(healthy.length + table.liveness_for, name, False)
    flat.alert(by + table.liveness_window, name, expected)
    flat.alert(flat.length, name, False)
    yield flat

    if promise.job:
        down = Traffic(8 * MINUTE, BUSY, total_missing=True, counted_missing=True, target_down=True)
        dead = Scenario("the source itself is down, which another alert says", [healthy, down])
        dead.alert(dead.length, name, False)
        yield dead
