"""One entry of an SLO's `objectives`: how much is promised.

Owns the target and the refusal of time slices, composites and thresholds.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from slo import burn
from slo.parse.fields import Fields

LONGEST_SUFFIX = 30

_COMPOSITE = ("composite objectives are not executed", "Write one SLO for each indicator")
_TIME_SLICE = ("time slices are not executed", "Count events: budgetingMethod Occurrences")
_THRESHOLD = ("belongs to threshold metrics, which are not executed", "Count good events in a histogram bucket")
_REFUSED = {
    "indicator": _COMPOSITE,
    "indicatorRef": _COMPOSITE,
    "compositeWeight": _COMPOSITE,
    "timeSliceTarget": _TIME_SLICE,
    "timeSliceWindow": _TIME_SLICE,
    "op": _THRESHOLD,
    "value": _THRESHOLD,
}


@dataclass(frozen=True)
class Objective:
    """A target, and what tells it from the other objectives of its SLO (empty when there is one only)."""

    target: Decimal
    label: str
    suffix: str


def read_objective(fields: Fields, *, several: bool) -> Objective | None:
    """None when a problem was filed."""
    for key, (what, remedy) in _REFUSED.items():
        fields.refuse(key, what, remedy)
    target = _read_target(fields)
    label = fields.text("displayName", required=several)
    fields.done()
    if target is None or not several:
        return Objective(target, "", "") if target else None
    letters = "".join(char if char.isascii() and char.isalnum() else " " for char in label.lower())
    suffix = "-".join(letters.split())[:LONGEST_SUFFIX].rstrip("-")
    if label and not suffix:
        fields.problem("displayName", "field-form", "holds no letter or digit to make a name of", "Rename it")
    return Objective(target, label, suffix) if suffix else None


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
    return burn.plain(given / whole)
