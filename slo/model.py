"""What a promise is: plain frozen data between the parser and the emitters.

Owns the promise and how its parts fit together; indicators, windows and calendars have modules of their own. Refuses
to know YAML, PromQL or any other syntax, and does no I/O.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from functools import cached_property
from typing import Literal, get_args

from slo import burn as arithmetic
from slo.alerting import AlertPolicy
from slo.errors import NOWHERE, Location
from slo.indicators import (
    Matcher,
    MeasuredIndicator,
    Operator,
    Query,
    RatioIndicator,
    RawIndicator,
    Selector,
    ThresholdIndicator,
)
from slo.periods import (
    FASTEST_CLOCK,
    SHORTEST_INTERVAL,
    SHORTEST_RATE_WINDOW,
    Severity,
    Tier,
    Window,
    WindowTable,
)

__all__ = [
    "FASTEST_CLOCK",
    "SHORTEST_INTERVAL",
    "SHORTEST_RATE_WINDOW",
    "CompositeIndicator",
    "Indicator",
    "Liveness",
    "Matcher",
    "MeasuredIndicator",
    "Operator",
    "Part",
    "Promise",
    "Query",
    "RatioIndicator",
    "RawIndicator",
    "Selector",
    "Service",
    "Severity",
    "Slices",
    "ThresholdIndicator",
    "Tier",
    "Window",
    "WindowTable",
]

Liveness = Literal["absent", "zero"]


@dataclass(frozen=True, slots=True)
class Part:
    """One objective of a composite: a promise that is recorded like any other, and how much it weighs.

    `share` of the composite's error ratio is this one's, so that burn rates add up, each times its weight; the shares
    of all parts make 1.
    """

    promise: Promise
    weight: Decimal
    share: Decimal


@dataclass(frozen=True, slots=True)
class CompositeIndicator:
    """Several indicators in one (docs/adr/0012-composites.md)."""

    parts: tuple[Part, ...]


Indicator = MeasuredIndicator | CompositeIndicator


@dataclass(frozen=True, slots=True)
class Slices:
    """Time cut into pieces of one length. What is counted is pieces, not events.

    With a target (Timeslices) a piece is bad as a whole when its share of good events is below it (`strict`: or equal
    to it). Without one (RatioTimeslices) a piece is as bad as its events were. A piece without events is none.
    """

    length: timedelta
    target: Decimal | None
    strict: bool = False


@dataclass(frozen=True, slots=True)
class Service:
    """Who keeps promises."""

    name: str
    title: str
    team: str
    description: str = ""
    depends_on: tuple[str, ...] = ()  # services without which it cannot keep its promises
    at: Location = NOWHERE


@dataclass(frozen=True)
class Promise:
    """One objective for one indicator: what everything downstream is generated from."""

    name: str
    title: str
    description: str
    service: Service
    team: str
    objective: Decimal
    indicator: Indicator
    windows: WindowTable
    journey: str
    impact: str
    min_bad_events: int
    liveness: Liveness
    at: Location
    slices: Slices | None = None  # None: events are counted
    policies: tuple[AlertPolicy, ...] = ()  # none: the table's tiers and missing data alert

    @cached_property
    def budget(self) -> Decimal:
        """The share of events that may be bad."""
        return arithmetic.error_budget(self.objective)

    @property
    def counters(self) -> RatioIndicator | None:
        """The indicator, if it is a ratio of counters: then events have labels, rates and exemplars to show."""
        indicator = self.indicator
        return indicator if isinstance(indicator, RatioIndicator) and not indicator.gauge else None

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts of a composite; none otherwise."""
        return self.indicator.parts if isinstance(self.indicator, CompositeIndicator) else ()

    @property
    def of_ratios(self) -> bool:
        """Whether it is a composite of its parts' error ratios; one of slices counts slices of its own."""
        return bool(self.parts) and self.slices is None

    @property
    def unit(self) -> str:
        """What is counted, as texts call it."""
        if self.parts:
            return self.parts[0].promise.unit
        if self.slices:
            return "time slices"
        return "events" if self.counters else "measurements"

    @cached_property
    def job(self) -> str | None:
        """The scrape job that counts the total, if the indicator names one."""
        total = total_selector(self.indicator)
        matcher = total.matcher("job") if total else None
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

    @property
    def severities(self) -> tuple[Severity, ...]:
        """The tiers that have a burn alert."""
        return tuple(severity for severity in get_args(Severity) if self.tiers(severity))

    @property
    def urgent_tiers(self) -> tuple[Tier, ...]:
        """The tiers of the page, or of the ticket where nothing pages, or of the table where nothing burns an alert."""
        return self.tiers("page") or self.tiers("ticket") or self.windows.recorded

    @property
    def tells_missing_data(self) -> bool:
        """Whether missing data alerts."""
        return not self.policies or any(policy.no_data for policy in self.policies)

    def unreachable_tiers(self) -> tuple[Tier, ...]:
        """The tiers that no error ratio can reach, because the budget is too large for their factor."""
        return tuple(tier for tier in self.windows.tiers if not arithmetic.reachable(tier.burn, self.budget))

    def at_clock(self, clock: float) -> Promise:
        """The same promise in a world that runs `clock` times as fast."""
        if clock == 1:
            return self
        indicator, slices = self.indicator, self.slices
        if isinstance(indicator, CompositeIndicator):
            parts = (replace(part, promise=part.promise.at_clock(clock)) for part in indicator.parts)
            indicator = CompositeIndicator(tuple(parts))
        if slices:
            slices = replace(slices, length=max(slices.length / clock, SHORTEST_RATE_WINDOW))
        return replace(self, windows=self.windows.at_clock(clock), indicator=indicator, slices=slices)


def total_selector(indicator: Indicator) -> Selector | None:
    """The series without which there is nothing to judge; None where no single selector says it."""
    if isinstance(indicator, RatioIndicator):
        return indicator.total
    if isinstance(indicator, RawIndicator):
        return indicator.ratio.selector
    return indicator.measured.selector if isinstance(indicator, ThresholdIndicator) else None
