"""How a promise reacts: which alert comes when at which share of errors, when it goes, and what has been spent by then.

Owns the choice of the tier that is first. The formulas are `slo.burn`'s; whoever tells or compares asks here.
"""

from __future__ import annotations

from dataclasses import dataclass

from slo import burn
from slo.model import Promise, Severity, Tier

# What people ask about: an outage, a broken replica, a bad deploy, a slow leak, the objective of 99.9 % itself.
ERROR_RATIOS = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)
SEVERITIES: tuple[Severity, ...] = ("page", "ticket")


@dataclass(frozen=True)
class Reaction:
    """An alert at a constant share of errors. Times in seconds from their onset, or from their end for the reset."""

    severity: Severity
    tier: Tier
    error_ratio: float
    after_s: float
    reset_s: float
    spent_ratio: float  # of the period's budget, when it fires


def react(promise: Promise, severity: Severity, error_ratio: float, base_ratio: float = 0.0) -> Reaction | None:
    """The first tier of a severity to fire; None when none ever does.

    The reset is of an alert that ends when it has just fired; after long errors the slowest tier that fires decides.
    """
    first: tuple[float, Tier] | None = None
    for tier in promise.tiers(severity):
        after = burn.detection_time_s(tier.burn_window(promise.budget), error_ratio, base_ratio)
        if after is not None and (first is None or after < first[0]):
            first = (after, tier)
    if first is None:
        return None
    after, tier = first
    threshold, short_s = float(promise.threshold(tier)), tier.short.length.total_seconds()
    spent = error_ratio * after / (float(promise.budget) * promise.windows.period.length.total_seconds())
    return Reaction(severity, tier, error_ratio, after, burn.reset_time_s(short_s, threshold, error_ratio), spent)


def slowest_reset_s(promise: Promise, severity: Severity, error_ratio: float) -> float | None:
    """How long an alert outlives errors that lasted longer than every window."""
    resets = [
        burn.reset_time_s(tier.short.length.total_seconds(), float(promise.threshold(tier)), error_ratio)
        for tier in promise.tiers(severity)
        if error_ratio > promise.threshold(tier)
    ]
    return max(resets, default=None)
