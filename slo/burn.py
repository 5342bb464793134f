"""The arithmetic of burn rates: when an alert fires, when it stops, what has been spent by then.

Owns the formulas of the Google SRE workbook, chapter 5 ("Alerting on SLOs"), on plain numbers. Refuses to know rules,
queries and files.

Symbols: objective S, budget b = 1 − S, burn factor B, threshold T = B·b, error ratio e, long window W, period P.
Thresholds are exact decimals (0.0144, never 0.014399999999999999): they are written into rules. Times are floats in
seconds: they are compared with clocks. `None` stands for "never".
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import NamedTuple


class BurnWindow(NamedTuple):
    """What the arithmetic needs of one tier: a long window and the error ratio that it tolerates."""

    long_s: float
    threshold: float


def error_budget(objective_ratio: Decimal) -> Decimal:
    """b = 1 − S, exactly."""
    return plain(1 - objective_ratio)


def threshold(burn: Decimal, budget: Decimal) -> Decimal:
    """T = B·b, exactly: the error ratio above which a tier fires."""
    return plain(burn * budget)


def plain(value: Decimal) -> Decimal:
    """The same number without trailing zeros or an exponent, so that it prints as a person writes it."""
    return Decimal(f"{value.normalize():f}")


def reachable(burn: Decimal, budget: Decimal) -> bool:
    """Whether a tier can ever fire: an error ratio cannot exceed 1 (14.4× is dead at S ≤ 93.06 %)."""
    return burn * budget < 1


def detection_time_s(tier: BurnWindow, error_ratio: float, base_ratio: float = 0.0) -> float | None:
    """Seconds from the onset of a constant error ratio until the long window's average exceeds the threshold.

    t = W·(T − e₀)/(e − e₀) with e₀ the ratio before the onset. The short window is always the faster one.
    """
    if base_ratio > tier.threshold:
        return 0.0
    if error_ratio <= tier.threshold:
        return None
    return tier.long_s * (tier.threshold - base_ratio) / (error_ratio - base_ratio)


def earliest_detection_s(tiers: Iterable[BurnWindow], error_ratio: float, base_ratio: float = 0.0) -> float | None:
    """The least detection time over several tiers; None when no tier ever fires."""
    times = (detection_time_s(tier, error_ratio, base_ratio) for tier in tiers)
    return min((time for time in times if time is not None), default=None)


def reset_time_s(short_s: float, threshold: float, error_ratio: float) -> float:
    """Seconds from the end of the errors until the short window is at the threshold again: W_S·(1 − T/e)."""
    if error_ratio <= threshold:
        return 0.0
    return short_s * (1 - threshold / error_ratio)


def budget_spent_ratio(burn: float, long_s: float, period_s: float) -> float:
    """The share of the period's budget that is gone when a tier fires at constant traffic: B·W/P."""
    return burn * long_s / period_s


def traffic_loss_detection_s(tier: BurnWindow, error_ratio: float, traffic_ratio: float) -> float:
    """Detection time when the onset also leaves only a fraction k of the traffic: T·W/(k·e + T(1 − k)).

    At k = 0 it is the whole long window: burn rates do not see an outage that stops the traffic in time, which is why
    every objective also has a liveness rule.
    """
    share = traffic_ratio * error_ratio + tier.threshold * (1 - traffic_ratio)
    return tier.threshold * tier.long_s / share


def events_that_dilute_one_error(threshold: float) -> float:
    """With fewer events than this in the window, one single error is already above the threshold: 1/T."""
    return 1 / threshold
