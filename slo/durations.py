"""Lengths of time as Prometheus, Alertmanager and OpenSLO write them: `30d`, `1h30m`, `7s500ms`.

Owns the spelling. Refuses months, quarters and years: they have no fixed length.
"""

from __future__ import annotations

import re
from datetime import timedelta
from functools import lru_cache

MILLISECOND = timedelta(milliseconds=1)
UNITS = {
    "w": timedelta(weeks=1),
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
    "ms": MILLISECOND,
}
_DURATION = re.compile(r"(?:[0-9]{1,6}(?:ms|[wdhms]))+")
_PART = re.compile(r"([0-9]+)(ms|[wdhms])")


def parse_duration(text: str) -> timedelta:
    """`1h30m` → timedelta. Raises ValueError for anything that is not a positive fixed length of time."""
    if not _DURATION.fullmatch(text):
        raise ValueError(f"{text!r} is not a length of time such as 30d, 1h30m or 15s")
    try:
        length = sum((int(number) * UNITS[unit] for number, unit in _PART.findall(text)), timedelta())
    except OverflowError:
        raise ValueError(f"{text!r} is too long") from None
    if not length:
        raise ValueError(f"{text!r} is no time at all")
    return length


@lru_cache(maxsize=1024)
def format_duration(length: timedelta) -> str:
    """timedelta → `22h58m`, to the millisecond, without weeks (`30d`, as everybody writes it)."""
    rest = round(length / MILLISECOND)
    text = ""
    for unit in ("d", "h", "m", "s", "ms"):
        count, rest = divmod(rest, UNITS[unit] // MILLISECOND)
        if count:
            text += f"{count}{unit}"
    return text or "0s"
