"""What is measured: the series and queries that tell good from bad.

Owns the kinds of indicator as plain data. Refuses to know how they are counted over time, and every query language
but for the selectors that it takes apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

Operator = Literal["lte", "lt", "gte", "gt"]


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition on a label: `=`, `!=`, `=~` or `!~`."""

    label: str
    operator: str
    value: str


@dataclass(frozen=True, slots=True)
class Selector:
    """A set of series of one metric."""

    metric: str
    matchers: tuple[Matcher, ...] = ()

    def matcher(self, label: str, operator: str = "=") -> Matcher | None:
        """The first condition of this kind on a label."""
        return next((m for m in self.matchers if m.label == label and m.operator == operator), None)


@dataclass(frozen=True, slots=True)
class Query:
    """A PromQL expression as somebody wrote it, and the selector that it is, if it is no more than that."""

    text: str
    selector: Selector | None = None


@dataclass(frozen=True, slots=True)
class RatioIndicator:
    """Events counted twice: all of them, and the good or the bad ones among them.

    With `gauge` the two series are numbers that go up and down (replicas wanted and ready) and every look at them
    weighs as much as the total then is.
    """

    total: Selector
    counted: Selector
    counts: Literal["good", "bad"]
    gauge: bool = False


@dataclass(frozen=True, slots=True)
class RawIndicator:
    """A share of good or bad events that somebody else has computed. Every look at it weighs the same."""

    ratio: Query
    means: Literal["success", "failure"]


@dataclass(frozen=True, slots=True)
class ThresholdIndicator:
    """A measured value that is good while it compares with the limit as promised. Every look at it weighs the same."""

    measured: Query
    operator: Operator
    limit: Decimal


MeasuredIndicator = RatioIndicator | RawIndicator | ThresholdIndicator
