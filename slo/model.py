"""What a promise is: plain frozen data between the parser and the emitters.

Owns the words (promise, indicator, tier, window). Refuses to know YAML, PromQL or any other syntax, and does no I/O.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from functools import cached_property
from typing import Literal

from slo import burn as arithmetic
from slo.durations import format_duration, parse_duration
from slo.errors import Location

Severity = Literal["page", "ticket"]
Liveness = Literal["absent", "zero"]

SHORTEST_RATE_WINDOW = timedelta(seconds=5)  # five scrapes at the 1 s that a sped-up stack scrapes with
SHORTEST_INTERVAL = timedelta(seconds=1)
FASTEST_CLOCK = 60  # 5 min become 5 s


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition on a label: `=`, `!=`, `=~` or `!~`."""

    label: str
    operator: str
    value: str


@dataclass(frozen=True, slots=True)
class Selector:
    """A set of counters of one metric."""

    metric: str
    matchers: tuple[Matcher, ...] = ()

    def matcher(self, label: str, operator: str = "=") -> Matcher | None:
        """The first condition of this kind on a label."""
        return next((m for m in self.matchers if m.label == label and m.operator == operator), None)


@dataclass(frozen=True, slots=True)
class RatioIndicator:
    """Events counted twice: all of them, and the good or the bad ones among them."""

    total: Selector
    counted: Selector
    counts: Literal["good", "bad"]


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

    @property
    def period_days(self) -> Decimal:
        """The length of the period that is promised, whatever the clock."""
        return Decimal(parse_duration(self.period.name) // timedelta(hours=1)) / 24

    @cached_property
    def windows(self) -> tuple[Window, ...]:
        """Every window of every tier once, shortest first, without the period."""
        found = {window.name: window for tier in self.tiers for window in (tier.long, tier.short)}
        return tuple(sorted(found.values(), key=lambda window: window.length))

    @cached_property
    def base(self) -> Window:
        """The shortest window: long ones are summed up from its samples."""
        return self.windows[0]

    @cached_property
    def head(self) -> Window:
        """The shortest long window. Up to here, counters are read directly."""
        return min((tier.long for tier in self.tiers), key=lambda window: window.length)

    def for_period(self, period: timedelta) -> WindowTable:
        """The same table for another period: every window keeps its share of the period, so every tier its share of
        the budget. Evaluation and liveness do not depend on the period."""
        factor = period / self.period.length

        def scale(window: Window) -> Window:
            length = window.length * factor
            return Window(format_duration(length), length, window.step * factor)

        return replace(self, period=scale(self.period), tiers=_scale_tiers(self.tiers, scale))

    def at_clock(self, clock: float) -> WindowTable:
        """The same table in a world that runs `clock` times as fast. Names stay, so dashboards and queries do.

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
            period=scale(self.period),
            tiers=_scale_tiers(self.tiers, scale),
            interval=max(self.interval / clock, SHORTEST_INTERVAL),
            budget_interval=max(self.budget_interval / clock, SHORTEST_INTERVAL),
            liveness_window=max(self.liveness_window / clock, SHORTEST_RATE_WINDOW),
            liveness_for=self.liveness_for / clock,
        )


def _scale_tiers(tiers: tuple[Tier, ...], scale: Callable[[Window], Window]) -> tuple[Tier, ...]:
    return tuple(replace(tier, long=scale(tier.long), short=scale(tier.short)) for tier in tiers)


@dataclass(frozen=True, slots=True)
class Service:
    """Who keeps promises."""

    name: str
    title: str
    team: str
    description: str = ""


@dataclass(frozen=True)
class Promise:
    """One objective for one indicator: what everything downstream is generated from."""

    name: str
    title: str
    description: str
    service: Service
    team: str
    objective: Decimal
    indicator: RatioIndicator
    windows: WindowTable
    journey: str
    impact: str
    min_bad_events: int
    liveness: Liveness
    at: Location

    @cached_property
    def budget(self) -> Decimal:
        """The share of events that may be bad."""
        return arithmetic.error_budget(self.objective)

    @cached_property
    def job(self) -> str | None:
        """The scrape job that counts the total, if the indicator names one."""
        matcher = self.indicator.total.matcher("job")
        return matcher.value if matcher else None

    @property
    def alert_prefix(self) -> str:
        """`checkout-availability` → `CheckoutAvailability`."""
        return "".join(part.capitalize() for part in self.name.split("-"))

    def threshold(self, tier: Tier) -> Decimal:
        """The error ratio above which a tier fires."""
        return arithmetic.threshold(tier.burn, self.budget)

    def tiers(self, severity: Severity) -> tuple[Tier, ...]:
        """The tiers of a severity that can fire, fastest first."""
        return tuple(
            tier
            for tier in self.windows.tiers
            if tier.severity == severity and arithmetic.reachable(tier.burn, self.budget)
        )

    def unreachable_tiers(self) -> tuple[Tier, ...]:
        """The tiers that no error ratio can reach, because the budget is too large for their factor."""
        return tuple(tier for tier in self.windows.tiers if not arithmetic.reachable(tier.burn, self.budget))

    def at_clock(self, clock: float) -> Promise:
        """The same promise in a world that runs `clock` times as fast."""
        return self if clock == 1 else replace(self, windows=self.windows.at_clock(clock))
