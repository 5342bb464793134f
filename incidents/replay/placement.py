"""Where in time a bundle goes, and how what it holds is named there.

Owns the choice: at its own time where nothing else is, so that every link stays true; else whole days away from it, so
that hours still agree. Refuses to know how anything is loaded.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from incidents.bundle.form import Manifest
from incidents.capture.moments import emit_time

DAY_MS = 86_400_000
REACH_MS = 30 * DAY_MS
"""As far back as all local backends still take and keep (Loki 31 days, Prometheus 35)."""
_TRACE_ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])")


class NoPlace(Exception):
    """There is no time at which the bundle can be loaded; the text says why and what to do."""


@dataclass
class Placement:
    """A bundle, moved by `shift_ms`. `label` is the value of `replay` on everything that is loaded.

    Moved traces get ids of their own, the same ones each time: the originals may be in the same Jaeger.
    """

    bundle_id: str
    start_ms: int
    end_ms: int
    shift_ms: int = 0
    trace_ids: set[str] = field(default_factory=set)
    """The ids that the bundle's traces and lines name: inside texts they are renamed as well."""

    @property
    def label(self) -> str:
        """The bundle's id, and the time where it is not its own."""
        return f"{self.bundle_id}@{emit_time(self.start_ms)}" if self.shift_ms else self.bundle_id

    def trace_id(self, trace_id: str) -> str:
        """What a trace is called here."""
        if not self.shift_ms:
            return trace_id
        return hashlib.sha256(f"{self.label} {trace_id}".encode()).hexdigest()[:32]

    def text(self, text: str) -> str:
        """A text with the ids of moved traces in it renamed."""
        if not self.shift_ms:
            return text
        return _TRACE_ID.sub(lambda found: self.trace_id(found[0]) if found[0] in self.trace_ids else found[0], text)


def candidates(manifest: Manifest, now_ms: int) -> list[int]:
    """Shifts in the order of preference: none, then whole days, the nearest first."""
    latest = now_ms - manifest.end_ms
    earliest = now_ms - REACH_MS - manifest.start_ms
    days = range(-(-earliest // DAY_MS), latest // DAY_MS + 1)
    return sorted((day * DAY_MS for day in days), key=lambda shift: (abs(shift), shift))


async def choose(
    manifest: Manifest, at_ms: int | None, now_ms: int, is_taken: Callable[[Placement], Awaitable[bool]]
) -> Placement:
    """The place at `at_ms`, or the first candidate, at which nothing but this very replay is. Raises NoPlace."""
    shifts: Iterable[int] = [at_ms - manifest.start_ms] if at_ms is not None else candidates(manifest, now_ms)
    for shift in shifts:
        place = Placement(manifest.id, manifest.start_ms + shift, manifest.end_ms + shift, shift)
        if place.end_ms > now_ms:
            raise NoPlace(f"it would end at {emit_time(place.end_ms)}, which is still to come. Choose an earlier --at")
        if place.start_ms < now_ms - REACH_MS:
            raise NoPlace(f"--at is more than {REACH_MS // DAY_MS} days back, which the backends no longer take")
        if not await is_taken(place):
            return place
    if at_ms is not None:
        raise NoPlace("the local Prometheus has other samples at that time, and sums would mix. Choose another --at")
    raise NoPlace(f"the local Prometheus has samples at that hour of each of {REACH_MS // DAY_MS} days. Give --at TIME")
