"""Who is told of what, and when: alert policies with their conditions, notification targets and quiet hours.

Owns these words as plain data, and how a policy's conditions become tiers of a table of windows. Refuses to know YAML
and every notification system.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from typing import Literal

from slo.durations import format_duration
from slo.errors import Location
from slo.periods import Severity, Tier, Window, WindowTable

TargetKind = Literal["pagerduty", "opsgenie", "slack", "email", "webhook"]

# The short window tells when it is over: a twelfth of the long one (Google SRE workbook, chapter 5, "Multiwindow").
SHORT_OF_LONG = 12


@dataclass(frozen=True, slots=True)
class Condition:
    """Burning `burn` times the sustainable rate over `lookback`, for `alert_after`."""

    severity: Severity
    burn: Decimal
    or_equal: bool
    lookback: timedelta
    alert_after: timedelta
    at: Location  # of the lookback window
    burn_at: Location


@dataclass(frozen=True, slots=True)
class Span:
    """From `start_min` to `end_min` after midnight (at most 1440), on the weekdays `first` to `last` (Monday is 0)."""

    first: int
    last: int
    start_min: int
    end_min: int


@dataclass(frozen=True, slots=True)
class QuietHours:
    """When tickets wait, in the time of one place. Pages never do."""

    zone: str
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Target:
    """Somewhere to tell. `teams` and `tiers` say of which alerts it hears without a policy: none if both are empty,
    all teams' if only `teams` is empty, both tiers if only `tiers` is."""

    name: str
    kind: TargetKind
    secret_file: str
    settings: tuple[tuple[str, str], ...] = ()
    teams: tuple[str, ...] = ()
    tiers: tuple[Severity, ...] = ()
    quiet: QuietHours | None = None

    def setting(self, name: str) -> str:
        """A setting that is no secret; empty if it was not given."""
        return dict(self.settings).get(name, "")

    @property
    def on_its_own(self) -> bool:
        """Whether it hears of anything without a policy that names it."""
        return bool(self.teams or self.tiers)

    def hears(self, severity: Severity) -> bool:
        """Whether it hears of alerts of this tier on its own."""
        return severity in self.tiers if self.tiers else bool(self.teams)


@dataclass(frozen=True, slots=True)
class AlertPolicy:
    """Which conditions alert, whether missing data does, whether the end is told, and whom."""

    name: str
    conditions: tuple[Condition, ...]  # none if breaching does not alert
    no_data: bool
    resolved: bool
    targets: tuple[Target, ...]

    def severities(self) -> tuple[Severity, ...]:
        """The tiers that it alerts on, missing data aside."""
        return tuple(dict.fromkeys(condition.severity for condition in self.conditions))


def table_of(conditions: tuple[Condition, ...], table: WindowTable) -> WindowTable:
    """The table with these conditions instead of its own tiers; its windows are recorded all the same.

    Raises NotExecutable for the first condition that its windows cannot serve.
    """
    tiers = (
        Tier(
            condition.severity,
            long=_window(condition, table),
            short=_short(condition, table),
            burn=condition.burn,
            or_equal=condition.or_equal,
            alert_after=condition.alert_after,
        )
        for condition in conditions
    )
    by_speed = sorted(tiers, key=lambda tier: tier.long.length)
    return replace(table, tiers=tuple(by_speed), recorded=table.tiers)


class NotExecutable(ValueError):
    """A condition that no rule can be made of; the text says why, and after a semicolon what to do."""

    def __init__(self, condition: Condition, text: str) -> None:
        super().__init__(text)
        self.condition = condition


def _window(condition: Condition, table: WindowTable) -> Window:
    lookback = condition.lookback
    for window in table.windows:
        if window.length == lookback:
            return window
    least, seam = table.base.length, table.head.length
    if lookback < least:
        raise NotExecutable(condition, f"is shorter than {_text(least)}, the shortest window; use at least that")
    if lookback > table.period.length:
        raise NotExecutable(condition, f"is longer than the period of {table.period.name}; use a shorter one")
    if seam < lookback < seam + 2 * least:
        remedy = f"use {_text(seam)}, or at least {_text(seam + 2 * least)}"
        raise NotExecutable(condition, f"lies too close above {_text(seam)}, up to where counters are read; {remedy}")
    return Window(_text(lookback), lookback, _step(lookback, table))


def _short(condition: Condition, table: WindowTable) -> Window:
    """The short window of the table's own tier with that long window, or else a twelfth, as near as can be recorded."""
    for tier in table.tiers:
        if tier.long.length == condition.lookback:
            return tier.short
    wanted = condition.lookback / SHORT_OF_LONG
    return max((w for w in table.windows if w.length <= max(wanted, table.base.length)), key=lambda w: w.length)


def _step(length: timedelta, table: WindowTable) -> timedelta:
    """As finely as the table samples the longest of its windows that is not longer."""
    return max((w for w in table.windows if w.length <= length), key=lambda w: w.length).step


def _text(length: timedelta) -> str:
    return format_duration(length)
