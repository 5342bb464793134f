"""Scenarios of constant errors: an alert fires when the arithmetic says so, not before, and stops in time.

Owns how much history, how fine an evaluation and which error ratios that takes. Expected times come from `slo.burn`,
not from what the rules happen to do: a rule that is late, early or deaf fails.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

from slo import burn
from slo.durations import format_duration
from slo.emit.alerts import burn_alert_name
from slo.emit.promtool.scenario import BUSY, HOUR, MINUTE, SAMPLE, Scenario, slices_of
from slo.emit.promtool.series import Traffic
from slo.model import Promise, RatioIndicator, Severity, Tier

ERROR_RATIOS = ("1", "0.1", "0.05", "0.02", "0.01")
OVERHEAD = timedelta(seconds=30)  # one scrape and one evaluation, both every 15 s


def detection_scenarios(promise: Promise) -> Iterator[tuple[timedelta, Scenario]]:
    """A scenario for each error ratio that the promise must see, with the interval to evaluate it at.

    The most urgent severity that reacts to the ratio is the one that is tested.
    """
    severities: tuple[Severity, Severity] = ("page", "ticket")
    for error_ratio in map(Decimal, ERROR_RATIOS):
        for severity in severities:
            tiers = [tier for tier in promise.tiers(severity) if error_ratio > promise.threshold(tier)]
            if tiers:
                yield _detection(promise, severity, tiers, error_ratio)
                break


def _detection(
    promise: Promise, severity: Severity, tiers: list[Tier], error_ratio: Decimal
) -> tuple[timedelta, Scenario]:
    """Healthy, constant errors until just after the alert, healthy again: silent, fires in time, stops in time."""
    first = min(tiers, key=lambda tier: _theory(promise, tier, error_ratio))
    theory = _theory(promise, first, error_ratio)
    evaluation, sample = _pace(theory)
    slices = slices_of(promise)
    if slices and slices.target is not None:
        evaluation = min(evaluation, slices.length)  # no slice may pass unseen
    late = _lateness(promise, error_ratio, theory, evaluation)
    history = _history(promise, tiers, error_ratio, _ceil(theory + late + sample, evaluation))
    onset = _ceil(max(history, first.long.length), evaluation)
    if slices:
        onset = _ceil(onset, slices.length)
    while (
        not late and (onset + theory) % evaluation < evaluation - OVERHEAD
    ):  # so that an evaluation comes within the overhead
        onset += sample
    fires_by = _ceil(onset + theory + late, evaluation)
    early = max(theory * _earliness(promise, first, sample), evaluation if late else timedelta())
    silent_until = max(_floor(onset + theory - early, evaluation), onset)
    fired = [tier for tier in tiers if onset + _theory(promise, tier, error_ratio) <= fires_by]
    resets_by = _ceil(fires_by + max(tier.short.length for tier in fired), evaluation)
    if late:
        resets_by += _ceil(slices.length if slices else evaluation, evaluation)
    reset = burn.reset_time_s(first.short.length.total_seconds(), float(promise.threshold(first)), float(error_ratio))
    name = burn_alert_name(promise, severity)
    scenario = Scenario(
        f"at {float(error_ratio):.0%} errors the {severity} fires after {format_duration(theory)}",
        [
            Traffic(onset, BUSY),
            Traffic(fires_by - onset, BUSY, error_ratio),
            Traffic(resets_by - fires_by, BUSY),
        ],
        sample=sample,
    )
    scenario.alert(onset, name, False)
    scenario.alert(silent_until, name, False)
    scenario.alert(fires_by, name, True)
    if not (slices and error_ratio < 1):  # a bad slice now and then leaves the short window whenever it was last
        scenario.alert(_floor(fires_by + timedelta(seconds=reset * 0.8), evaluation), name, True)
    scenario.alert(resets_by, name, False)
    return evaluation, scenario


def _lateness(promise: Promise, error_ratio: Decimal, theory: timedelta, evaluation: timedelta) -> timedelta:
    """By how much what is counted may say it later than the theory of constant errors: events come all the time, but
    a slice must be over, the bad one of a cycle may be its last, looks are an evaluation apart, and of all of them it
    takes a few."""
    slices = slices_of(promise)
    if slices:
        each = slices.length if slices.target is None else slices.length / float(error_ratio)
    elif promise.counters or promise.parts:
        return timedelta()
    else:
        bad_a_look = BUSY * error_ratio if isinstance(promise.indicator, RatioIndicator) else 1
        each = evaluation / float(min(bad_a_look, 1))
    return each + (slices.length if slices else evaluation) + max(promise.min_bad_events * each - theory, timedelta())


def _theory(promise: Promise, tier: Tier, error_ratio: Decimal) -> timedelta:
    seconds = burn.detection_time_s(tier.burn_window(promise.budget), float(error_ratio))
    return timedelta.max if seconds is None else timedelta(seconds=seconds) + tier.alert_after


def _history(promise: Promise, tiers: list[Tier], error_ratio: Decimal, errors: timedelta) -> timedelta:
    """The healthy time it takes that no slower tier, whose window is not full yet, fires before its turn."""
    return max(min(errors * float(error_ratio / promise.threshold(tier)), tier.long.length) for tier in tiers)


def _earliness(promise: Promise, tier: Tier, sample: timedelta) -> float:
    """By which share a tier may be early: a summed-up window sees half a base and a step less than its name says, a
    window over counters one sample."""
    if tier.long.length > promise.windows.head.length:
        return (promise.windows.base.length / 2 + tier.long.step) / tier.long.length
    return sample / promise.windows.base.length


def _pace(theory: timedelta) -> tuple[timedelta, timedelta]:
    """How often to evaluate and to sample: finely where seconds count, coarsely where days pass."""
    if theory < 2 * MINUTE:
        return 2 * SAMPLE, SAMPLE
    if theory < HOUR / 2:
        return MINUTE, SAMPLE
    return (2 * MINUTE if theory < 6 * HOUR else 5 * MINUTE), 2 * SAMPLE


def _ceil(time: timedelta, step: timedelta) -> timedelta:
    return -(-time // step) * step


def _floor(time: timedelta, step: timedelta) -> timedelta:
    return time // step * step
