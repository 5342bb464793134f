"""Scenarios of the mistakes that rules of this kind are known for, as the docstring of `slo.emit.recording` has them.

Owns one scenario for each: silence at the objective, restarts, absent series, pauses, uneven and low traffic, missing
data.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

from slo.emit import promql
from slo.emit.alerts import budget_alert_name, burn_alert_name, liveness_alert_name
from slo.emit.promtool.scenario import BUSY, HOUR, MINUTE, NOTHING, SAMPLE, Scenario, only_counters
from slo.emit.promtool.series import Traffic
from slo.model import Promise, RatioIndicator, Slices, ThresholdIndicator

OVERHEAD = timedelta(seconds=30)


def trap_scenarios(promise: Promise) -> Iterator[Scenario]:
    """What constant errors do not show, as far as it can happen to what the promise counts."""
    mixed = bool(promise.parts) and not only_counters(promise)  # what is measured goes on, and is a little later
    yield _at_objective(promise)
    if not mixed:
        yield _pause(promise)
    if promise.counters or promise.parts:
        yield _restart(promise)
    if promise.counters:
        yield _absent_series(promise)
    if promise.slices and not mixed:
        yield _slices_weigh_alike(promise)
        if promise.slices.target is not None and not promise.parts:
            yield _at_slice_target(promise, promise.slices)
    elif isinstance(promise.indicator, RatioIndicator):
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
    if promise.slices:
        events = head.length / promise.slices.length
    if promise.of_ratios:
        events = 1.0
    total = promql.recorded(promql.total_name(head), promise)
    for minutes in (2, 6, 30):
        at = HOUR + minutes * MINUTE
        restart.silent(at, promise)
        restart.holds(at, f"{total} > {events * 0.98:.4g} < {events * 1.02:.4g}")
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


def _slices_weigh_alike(promise: Promise) -> Scenario:
    long = max((tier.long for tier in promise.tiers("page")), key=lambda window: window.length)
    alike = Scenario(
        "windows weigh slices of time, however few events fall in them",
        [Traffic(long.length / 2, BUSY / 100, Decimal("0.5")), Traffic(long.length / 2, BUSY)],
    )
    alike.holds(long.length, f"{promql.recorded(promql.ratio_name(long), promise)} > 0.22 < 0.28")
    return alike


def _at_slice_target(promise: Promise, slices: Slices) -> Scenario:
    """A slice that just meets its target is good, one that misses it by a little is bad, as a whole."""
    assert slices.target is not None
    allowed = 1 - slices.target
    missed = allowed + (Decimal("0.25") if isinstance(promise.indicator, ThresholdIndicator) else Decimal("0.01"))
    stretch = max(10 * MINUTE, 3 * slices.length)
    base = promql.recorded(promql.ratio_name(promise.windows.base), promise)
    scenario = Scenario(
        "a slice at its target is good and below it bad",
        [Traffic(stretch, BUSY, allowed, of_events=True), Traffic(stretch, BUSY, missed, of_events=True)],
        sample=SAMPLE,
    )
    scenario.holds(stretch, f"{base} == {int(slices.strict)}")
    scenario.holds(2 * stretch, f"{base} == 1")
    return scenario


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


def budget_scenario(promise: Promise) -> Scenario:
    """Twice the errors that are allowed use up the budget, which is told once the longest window has been watched."""
    name, longest = budget_alert_name(promise), promise.windows.windows[-1].length
    watched = -(-longest // HOUR) * HOUR
    course = [Traffic(watched + HOUR, BUSY, promise.budget * 2)]
    spent = Scenario("a budget that is used up is told after a while", course)
    spent.sample = MINUTE
    spent.alert(watched - HOUR, name, False)
    spent.alert(spent.length, name, True)
    return spent


def liveness_scenarios(promise: Promise) -> Iterator[Scenario]:
    """Missing data, no traffic, and a source that is down altogether."""
    name = liveness_alert_name(promise)
    table = promise.windows
    healthy = Traffic(10 * MINUTE, BUSY)
    by = healthy.length + table.liveness_for + OVERHEAD
    emptied = table.base.length + (promise.slices.length if promise.slices else timedelta())
    missing = Traffic(max(8 * MINUTE, emptied + MINUTE), BUSY, total_missing=True)
    gone = Scenario("the total vanishes while its source is up", [healthy, missing])
    gone.silent(healthy.length, promise)
    gone.alert(by, name, True)
    empty = healthy.length + emptied + OVERHEAD
    gone.checks.append((empty, f"count({promql.recorded(promql.ratio_name(table.base), promise)}) or {NOTHING}", 0))
    yield gone

    if promise.job:
        down = Traffic(8 * MINUTE, BUSY, total_missing=True, counted_missing=True, target_down=True)
        dead = Scenario("the source itself is down, which another alert says", [healthy, down])
        dead.alert(dead.length, name, False)
        yield dead

    if not only_counters(promise):
        return
    flat = Scenario("traffic stops", [healthy, Traffic(8 * MINUTE, Decimal(0)), Traffic(5 * MINUTE, BUSY)])
    expected = promise.liveness == "zero"
    flat.alert(healthy.length + table.liveness_for, name, False)
    flat.alert(by + table.liveness_window, name, expected)
    flat.alert(flat.length, name, False)
    yield flat
