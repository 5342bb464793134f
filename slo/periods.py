"""Lengths of time that a promise is judged over: windows, the tiers that alert on them, and the table of a period.

Owns how tables scale to other periods and to other clocks. Refuses to know what is counted in a window.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from functools import cached_property
from typing import Literal

from slo import burn as arithmetic
from slo.calendars import Calendar, nominal_length
from slo.durations import format_duration

Severity = Literal["page", "ticket"]

SHORTEST_RATE_WINDOW = timedelta(seconds=5)  # five scrapes at the 1 s that a sped-up stack scrapes with
SHORTEST_INTERVAL = timedelta(seconds=1)
FASTEST_CLOCK = 60  # 5 min become 5 s


@dataclass(frozen=True, slots=True)
class Window:
    """A length of time with a name that outlives scaling; `step` is how finely a long one is sampled."""

    name: str
    length: timedelta
    step: timedelta


@dataclass(frozen=True, slots=True)
class Tier:
    """A pair of windows that must both burn faster than `burn` times the sustainable rate."""

    severity: Severity
    long: Window
    short: Window
    burn: Decimal
    or_equal: bool = False  # a burn rate just as high as `burn` fires too
    alert_after: timedelta = timedelta(0)  # how long it must last

    def burn_window(self, budget: Decimal) -> arithmetic.BurnWindow:
        """The same for the arithmetic."""
        return arithmetic.BurnWindow(self.long.length.total_seconds(), float(arithmetic.threshold(self.burn, budget)))


@dataclass(frozen=True)
class WindowTable:
    """The windows of one period: which pairs alert, how often rules are evaluated, how absence is judged."""

    source: str
    period: Window
    tiers: tuple[Tier, ...]
    interval: timedelta  # between evaluations of the windows that alert
    budget_interval: timedelta  # between evaluations of the whole period
    liveness_window: timedelta
    liveness_for: timedelta
    calendar: Calendar | None = None  # None: the period rolls
    recorded: tuple[Tier, ...] = ()  # the table's own tiers, where a policy has put others in their place

    @property
    def period_days(self) -> Decimal:
        """The length of the period that is promised, on paper and whatever the clock."""
        return Decimal(nominal_length(self.period.name) // timedelta(hours=1)) / 24

    @cached_property
    def windows(self) -> tuple[Window, ...]:
        """Every window of every tier once, shortest first, without the period."""
        found = {window.name: window for tier in (*self.recorded, *self.tiers) for window in (tier.long, tier.short)}
        return tuple(sorted(found.values(), key=lambda window: window.length))

    @cached_property
    def base(self) -> Window:
        """The shortest window: long ones are summed up from its samples."""
        return self.windows[0]

    @cached_property
    def head(self) -> Window:
        """The shortest long window. Up to here, counters are read directly."""
        return min((tier.long for tier in self.recorded or self.tiers), key=lambda window: window.length)

    @cached_property
    def grid(self) -> Window:
        """The longest short window that still reads counters: periods of a calendar are laid out in it."""
        shorts = (tier.short for tier in self.tiers if tier.short.length <= self.head.length)
        return max(shorts, key=lambda window: window.length)

    def for_period(self, period: timedelta) -> WindowTable:
        """The same table for another period: every window keeps its share of the period, so every tier its share of
        the budget. Evaluation and liveness do not depend on the period."""
        factor = period / self.period.length

        def scale(window: Window) -> Window:
            length = window.length * factor
            return Window(format_duration(length), length, window.step * factor)

        return replace(self, period=scale(self.period), tiers=_scale_tiers(self.tiers, scale))

    def for_calendar(self, calendar: Calendar) -> WindowTable:
        """The same table over periods of a calendar. What alerts are rolling windows as before."""
        return replace(self, calendar=calendar, period=Window(calendar.name, calendar.nominal, self.grid.length))

    def for_slices(self, length: timedelta) -> WindowTable:
        """The same table with no window shorter than one slice of time: there would be nothing in it."""

        def widen(window: Window) -> Window:
            return window if window.length >= length else Window(format_duration(length), length, length)

        return replace(self, tiers=_scale_tiers(self.tiers, widen))

    def at_clock(self, clock: float) -> WindowTable:
        """The same table in a world that runs `clock` times as fast. Names stay, so dashboards and queries do. Months
        do not run faster: a period of the calendar becomes a rolling one.

        Raises ValueError beyond FASTEST_CLOCK, where the floors would change what the rules decide.
        """
        if not 1 <= clock <= FASTEST_CLOCK:
            raise ValueError(f"clock {clock:g} is not between 1 and {FASTEST_CLOCK}")

        def scale(window: Window) -> Window:
            return Window(
                window.name,
                max(window.length / clock, SHORTEST_RATE_WINDOW),
                max(window.step / clock, SHORTEST_INTERVAL),
            )

        return replace(
            self,
            calendar=None,
            period=scale(self.period),
            tiers=tuple(
                replace(tier, alert_after=tier.alert_after / clock) for tier in _scale_tiers(self.tiers, scale)
            ),
            recorded=_scale_tiers(self.recorded, scale),
            interval=max(self.interval / clock, SHORTEST_INTERVAL),
            budget_interval=max(self.budget_interval / clock, SHORTEST_INTERVAL),
            liveness_window=max(self.liveness_window / clock, SHORTEST_RATE_WINDOW),
            liveness_for=self.liveness_for / clock,
        )


def _scale_tiers(tiers: tuple[Tier, ...], scale: Callable[[Window], Window]) -> tuple[Tier, ...]:
    return tuple(replace(tier, long=scale(tier.long), short=scale(tier.short)) for tier in tiers)
