"""What a budget policy is, and what it says about a deploy: go, ask, stop, or cannot tell.

Owns the words (level, exemption, reading, verdict) as plain frozen data, and the decision on them. Refuses to know
where readings come from. No data is never a promise met: a reading that is missing is `unknown`, and stops.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from slo.errors import Location

Action = Literal["allow", "approve", "freeze"]
State = Literal["allow", "approve", "freeze", "unknown"]
SEVERITY: tuple[State, ...] = ("allow", "approve", "unknown", "freeze")  # the later one decides


@dataclass(frozen=True, slots=True)
class Level:
    """What is allowed once no more than this share of the budget is left."""

    remaining_at_most: Decimal
    action: Action


@dataclass(frozen=True, slots=True)
class Exemption:
    """A change that may pass all the same, such as the fix of an outage; its use is written down."""

    name: str
    description: str
    overrides: tuple[State, ...]


@dataclass(frozen=True, slots=True)
class BudgetPolicy:
    """What may be deployed at which budget. Without `promises` it is about all of them."""

    name: str
    title: str
    description: str
    promises: tuple[str, ...]
    levels: tuple[Level, ...]  # the lowest first
    while_paging: Action
    exemptions: tuple[Exemption, ...]
    at: Location

    def covers(self, promise: str) -> bool:
        return not self.promises or promise in self.promises


@dataclass(frozen=True, slots=True)
class Reading:
    """What is known of a promise now. None is "no data". `burn` is the recent rate, 1 spends the budget exactly over
    the period; `paging` whether a page of it fires."""

    promise: str
    service: str
    remaining: float | None
    burn: float | None
    paging: bool | None
    period_s: float

    @property
    def exhaustion_s(self) -> float | None:
        """Seconds until the budget is gone at the recent burn; infinite when nothing burns, None when unknown."""
        if self.remaining is None or self.burn is None:
            return None
        if self.remaining <= 0:
            return 0.0
        return self.remaining * self.period_s / self.burn if self.burn > 0 else math.inf


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one policy says of one promise, and why."""

    policy: str
    reading: Reading
    state: State
    reason: str


def judge(policy: BudgetPolicy, reading: Reading) -> Verdict:
    """One promise. A page decides first, then the lowest level that has been reached."""
    if reading.paging is None or reading.remaining is None or not math.isfinite(reading.remaining):
        blind, empty = reading.paging is None, reading.remaining is None
        missing = (
            "no data" if blind and empty else "nobody can tell whether a page fires" if blind else "no budget data"
        )
        return Verdict(policy.name, reading, "unknown", missing)
    found: list[tuple[State, str]] = [("allow", f"{percent(reading.remaining)} of the budget is left")]
    if reading.paging:
        found.append((policy.while_paging, "a page fires"))
    level = next((level for level in policy.levels if reading.remaining <= level.remaining_at_most), None)
    if level:
        limit = f"at most {percent(float(level.remaining_at_most))}"
        found.append((level.action, f"{percent(reading.remaining)} of the budget is left, {limit}"))
    state, reason = max(found, key=lambda each: SEVERITY.index(each[0]))
    return Verdict(policy.name, reading, state, reason)


def decide(verdicts: Iterable[Verdict]) -> State:
    """The strictest of them; of nothing at all nobody can tell."""
    return max((verdict.state for verdict in verdicts), key=SEVERITY.index, default="unknown")


def percent(ratio: float) -> str:
    """0.254 → `25.4 %`, -26.5 → `-2650 %`."""
    return f"{ratio * 100:.0f} %" if abs(ratio) >= 1 else f"{ratio * 100:.3g} %"
