"""Numbers as people say them and as people type them: lengths of time, shares, rates of events, courses of either.

Owns the spelling on the command line. Lengths of time in definitions are `slo.durations`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import NamedTuple

from slo.durations import parse_duration

_PER = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_RATE = re.compile(r"([0-9.eE+-]+)\s*(?:/\s*([smhd]))?")
MOST_STEPS = 100


class Step(NamedTuple):
    """A value that holds for a length of time; None: for as long as there is."""

    length: timedelta | None
    value: float


def say_time(seconds: float) -> str:
    """52 s · 17 m 17 s · 43 m · 3.6 h · 5.5 d."""
    if seconds < 100:
        return f"{seconds:.0f} s" if seconds >= 10 or seconds == int(seconds) else f"{seconds:.1f} s"
    if seconds < 1200:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} m {rest} s" if rest else f"{minutes} m"
    if seconds < 5400:
        return f"{seconds / 60:.0f} m"
    return f"{seconds / 3600:.3g} h" if seconds < 2 * 86400 else f"{seconds / 86400:.3g} d"


def say_share(ratio: float) -> str:
    """0.0005 → `0.05 %`."""
    return f"{ratio * 100:.4g} %"


def say_objective(ratio: float) -> str:
    """0.99999 → `99.999 %`: what is promised is said in full, or five nines would be 100 %."""
    return f"{ratio * 100:.10g} %"


def say_count(number: float) -> str:
    """43200 → `43,200`; 2.5 → `2.5`."""
    return f"{number:,.0f}" if number >= 100 or number == int(number) else f"{number:.3g}"


def parse_share(text: str) -> float:
    """`0.05` or `5%` → 0.05. Raises ValueError outside 0 to 1."""
    text = text.strip()
    try:
        share = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise ValueError(f"{text!r} is not a share; write 0.05 or 5%")
    return share


def parse_rate(text: str) -> float:
    """`10`, `10/s`, `600/m` → events a second. Raises ValueError."""
    found = _RATE.fullmatch(text.strip())
    try:
        rate = float(found[1]) / _PER[found[2] or "s"] if found else -1.0
    except ValueError:
        rate = -1.0
    if not 0 <= rate <= 1e9:
        raise ValueError(f"{text!r} is not a rate; write 10/s, 600/m or 0")
    return rate


def parse_course(text: str, parse: Callable[[str], float]) -> list[Step]:
    """`0.05`, or steps such as `10m:0.05,5m:0`, of which the last may leave its length out. Raises ValueError."""
    parts = text.split(",")
    if len(parts) > MOST_STEPS:
        raise ValueError(f"more than {MOST_STEPS} steps; simplify the course")
    steps = []
    for index, part in enumerate(parts):
        length, colon, value = part.rpartition(":")
        if not colon and index < len(parts) - 1:
            raise ValueError(f"{part!r} does not say how long; write LENGTH:VALUE, as in 10m:0.05")
        steps.append(Step(parse_duration(length.strip()) if colon else None, parse(value)))
    return steps
