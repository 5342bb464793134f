"""One entry of an SLO's `objectives`: how much is promised, of what, and how it is counted.

Owns the target, the comparison with a threshold, slices of time and weights, each only where it means something.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import cast

from slo import burn
from slo.durations import parse_duration
from slo.model import MeasuredIndicator, Operator, Query, Slices, ThresholdIndicator
from slo.parse.catalogue import Catalogue
from slo.parse.fields import Fields
from slo.parse.indicator import Measured, find_indicator

LONGEST_SUFFIX = 30
OPERATORS = ("lte", "lt", "gte", "gt")
SHORTEST_SLICE = timedelta(minutes=1)  # four scrapes at 15 s, the least that a rate is worth something with
LONGEST_SLICE = timedelta(days=1)
HEAVIEST = 1_000_000
SMALLEST_BUDGET = Decimal("1e-8")  # a hundred steps of the recorded ratios (slo/emit/events.py)


@dataclass(frozen=True)
class Objective:
    """A target for an indicator, what people call it, and what tells it from the other objectives of its SLO (empty
    for the only one)."""

    target: Decimal
    label: str
    suffix: str
    indicator: MeasuredIndicator
    slices: Slices | None
    weight: Decimal


def read_objective(
    fields: Fields, catalogue: Catalogue, *, method: str, shared: Measured | None, composite: bool, several: bool
) -> Objective | None:
    """Read one. `shared` is the indicator of the whole SLO; in a composite every objective has its own. None when a
    problem was filed."""
    before = len(catalogue.problems)
    measured = find_indicator(fields, catalogue) if composite else shared
    for key in () if composite else ("indicator", "indicatorRef"):
        what = "stands both in the SLO and in its objective"
        fields.refuse(key, what, "Keep it in the SLO, or (for a composite) in every objective")
    weight = _read_weight(fields, method, composite)
    target = _read_target(fields)
    slices = _read_slices(fields, method, measured)
    indicator = _read_threshold(fields, method, measured)
    label, suffix = _read_label(fields, several)
    fields.done()
    if len(catalogue.problems) > before or target is None or indicator is None:
        return None
    return Objective(target, label, suffix, indicator, slices, weight)


def _read_label(fields: Fields, several: bool) -> tuple[str, str]:
    label = fields.text("displayName", required=several)
    if not several:
        return label, ""
    letters = "".join(char if char.isascii() and char.isalnum() else " " for char in label.lower())
    suffix = "-".join(letters.split())[:LONGEST_SUFFIX].rstrip("-")
    if label and not suffix:
        fields.problem("displayName", "field-form", "holds no letter or digit to make a name of", "Rename it")
    return label, suffix


def _read_target(fields: Fields) -> Decimal | None:
    both = fields.has("target"), fields.has("targetPercent")
    number, percent = fields.number("target", required=False), fields.number("targetPercent", required=False)
    if sum(both) != 1:
        what = "exactly one of target and targetPercent is needed"
        fields.problem("target", "field-missing", what, "Write `target: 0.999` or `targetPercent: 99.9`")
        return None
    key, given, whole = ("target", number, 1) if both[0] else ("targetPercent", percent, 100)
    if given is None:
        return None
    if not 0 < given < whole:
        what = f"{given} cannot be promised"
        fields.problem(key, "field-form", what, f"Choose a number above 0 and below {whole}")
        return None
    target = burn.plain(given / whole)
    if 1 - target < SMALLEST_BUDGET:
        fields.problem(key, "not-executable", too_small(1 - target), f"Choose at most {(1 - SMALLEST_BUDGET) * whole}")
        return None
    return target


def too_small(budget: Decimal) -> str:
    """Why nothing can be said about a budget below the smallest."""
    return f"leaves a budget of {burn.plain(budget)}, which error ratios (steps of 1e-10) cannot show"


def _read_weight(fields: Fields, method: str, composite: bool) -> Decimal:
    if not composite:
        what = "weighs the objectives of a composite, each with an indicator of its own"
        fields.refuse("compositeWeight", what, "Remove it, or move the indicator into the objectives")
        return Decimal(1)
    if method == "Timeslices":
        what = "weighs nothing here: a slice is bad for the composite when it is bad for any objective"
        fields.refuse("compositeWeight", what, "Remove it, or choose another budgetingMethod")
        return Decimal(1)
    weight = fields.number("compositeWeight", required=False)
    if weight is not None and not 0 < weight <= HEAVIEST:
        fields.problem("compositeWeight", "field-form", f"{weight} is no weight", "Choose a number above 0")
    return Decimal(1) if weight is None else weight


def _read_slices(fields: Fields, method: str, measured: Measured | None) -> Slices | None:
    if method != "Timeslices":
        what = f"belongs to budgetingMethod Timeslices, this is {method}"
        fields.refuse("timeSliceTarget", what, "Remove it, or choose Timeslices")
    if method == "Occurrences":
        what = "belongs to budgetingMethod Timeslices or RatioTimeslices, this is Occurrences"
        fields.refuse("timeSliceWindow", what, "Remove it, or choose another method")
        return None
    length = fields.parsed("timeSliceWindow", _parse_slice_length)
    if method == "RatioTimeslices":
        return Slices(length, None) if length else None
    target = fields.number("timeSliceTarget")
    if target is not None and not 0 < target <= 1:
        fields.problem("timeSliceTarget", "field-form", f"{target} is no share", "Choose a number above 0, at most 1")
    strict = not isinstance(measured, Query) and fields.text("op", required=False) == "gt"
    if strict and target == 1:
        what = "no slice can have more than all events good"
        fields.problem("op", "field-form", what, "Write `op: gte` or a lower timeSliceTarget")
    return Slices(length, burn.plain(target), strict) if length and target else None


def _read_threshold(fields: Fields, method: str, measured: Measured | None) -> MeasuredIndicator | None:
    """What `op` and `value` make of the indicator."""
    if isinstance(measured, Query):
        operator, limit = fields.choice("op", OPERATORS), fields.number("value")
        if operator is None or limit is None:
            return None
        return ThresholdIndicator(measured, cast(Operator, operator), limit)
    if measured is not None:
        fields.refuse("value", "belongs to thresholdMetric, this is a ratio", "Remove it")
        if method == "Timeslices":
            fields.choice("op", ["gte", "gt"], default="gte")
        else:
            fields.refuse("op", "belongs to thresholdMetric or Timeslices", "Remove it")
    else:  # what it is has a problem already, so nobody can say whether these belong to it
        for key in ("op", "value"):
            fields.text(key, required=False)
    return measured


def _parse_slice_length(text: str) -> timedelta:
    """A length of time; OpenSLO: a bare number is minutes."""
    length = parse_duration(f"{text}m" if text.isascii() and text.isdecimal() else text)
    if not SHORTEST_SLICE <= length <= LONGEST_SLICE:
        raise ValueError(f"{text!r} is no slice to judge; choose 1m to 1d (scrapes come every 15 s)")
    return length
