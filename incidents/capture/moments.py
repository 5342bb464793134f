"""The time slice that is asked for: words → milliseconds since the epoch.

Owns the forms in which a time may be written. Refuses to know what is captured.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from incidents.bundle.form import EARLIEST_S, MAX_SLICE_S

_UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_RELATIVE = re.compile(r"-(\d{1,9}(?:\.\d{1,6})?)([smhd])")


class TimeError(Exception):
    """A time, or a pair of times, that means nothing; the text says why and what would."""


@dataclass(frozen=True)
class Slice:
    """From `start_ms` to `end_ms`, both included."""

    start_ms: int
    end_ms: int

    def __str__(self) -> str:
        return f"{emit_time(self.start_ms)} to {emit_time(self.end_ms)}"


def parse_moment(text: str, now_s: float) -> float:
    """`now`, `-15m` (s, m, h, d) or an RFC 3339 time with its zone → seconds since the epoch. Raises TimeError."""
    text = text.strip()
    if text == "now":
        return now_s
    if found := _RELATIVE.fullmatch(text):
        return now_s - float(found[1]) * _UNITS_S[found[2]]
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise TimeError(f"{text[:40]!r} is no time. Write 2026-03-01T09:30:00Z, -15m or now") from None
    if moment.tzinfo is None:
        raise TimeError(f"{text[:40]!r} has no time zone. Add Z for UTC, or an offset such as +01:00")
    return moment.timestamp()


def parse_slice(start: str, end: str, now_s: float) -> Slice:
    """A pair of times → a slice that ends now at the latest. Raises TimeError."""
    start_s, end_s = parse_moment(start, now_s), min(parse_moment(end, now_s), now_s)
    if start_s < EARLIEST_S:
        raise TimeError(f"{start[:40]!r} is too long ago to be meant")
    if end_s - start_s < 1:
        raise TimeError("the slice is empty: --from must lie before --to, and before now")
    if end_s - start_s > MAX_SLICE_S:
        raise TimeError(f"the slice is longer than {MAX_SLICE_S // 86_400} days. Take a shorter one")
    return Slice(int(start_s * 1000), int(end_s * 1000))


def emit_time(at_ms: int) -> str:
    """Milliseconds since the epoch → RFC 3339 in UTC."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
