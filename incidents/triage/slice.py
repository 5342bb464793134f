"""Triage of a captured slice: it is loaded as `incident replay` does, and looked at where it lies.

Owns what takes the pager's place there: the alerts of the slice itself, read from its samples. All times are seconds
since the epoch; those a person gives are the captured system's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from incidents.observe import Backends
from incidents.progress import Progress
from incidents.triage.windows import BEFORE, LEAST_S, window_length_s

WATCHDOG = "watchdog"
PAUSE_STEPS = 3
_FIRING = 'ALERTS{alertstate="firing",replay="%s"}'


@dataclass(frozen=True)
class Slice:
    """Where a bundle lies in the backends; `shift_s` was added to its own times."""

    label: str
    start: float
    end: float
    shift_s: float

    def window_s(self, clock: float) -> float:
        """The length of the window now: both windows have to lie in the slice, unless it is too short for any."""
        return max(LEAST_S, min(window_length_s(clock), (self.end - self.start) / (BEFORE + 2)))


async def load_slice(bundle: Path, urls: Mapping[str, str], receivers: Mapping[str, str], progress: Progress) -> Slice:
    """Load it; what is there already stays. Raises BundleError, ReplayError, SourceError and NoPlace."""
    import httpx

    from incidents.bundle.read import Bundle
    from incidents.replay.receiver import TIMEOUT_S
    from incidents.replay.replay import Replay

    with Bundle(bundle) as opened:
        async with httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False) as client:
            one = Replay(opened, urls, receivers, progress, client)
            one.check()
            outcome = await one.load(None)
        told = opened.manifest
        start, end = (ms / 1000 + outcome.shift_s for ms in (told.start_ms, told.end_ms))
        return Slice(outcome.replay, start, end, outcome.shift_s)


async def observe_alerts(backends: Backends, where: Slice) -> list[dict[str, Any]]:
    """The alerts that fired in a slice, each time anew, with the fields of a page that are known there. One that is
    `early` began before anything that it could be compared with. Raises BackendError."""
    # A range query would bridge the pauses: a replay cannot know when exactly a series ended.
    found = await backends.samples(_FIRING % where.label, where.start, where.end)
    return [
        {
            "id": f"{series.labels['alertname']}@{where.label}",
            "alert": series.labels["alertname"],
            "tier": series.labels.get("tier", ""),
            "starts_at": datetime.fromtimestamp(start, UTC).isoformat(),
            "early": start < where.start + LEAST_S,
        }
        for series in found
        if series.labels.get("tier") != WATCHDOG
        for start in firings([at for at, _ in series.points])
    ]


def firings(moments: list[float]) -> list[float]:
    """When an alert began to fire, each time that it did: after a pause of several of its usual steps it is another."""
    if not moments:
        return []
    usual_s = min((later - earlier for earlier, later in pairwise(moments)), default=0.0)
    return [moments[0], *(later for earlier, later in pairwise(moments) if later - earlier > PAUSE_STEPS * usual_s)]


def choose_alert(alerts: list[dict[str, Any]], name: str | None) -> dict[str, Any] | None:
    """The one of that name; without a name the first page, or else the first ticket, that the slice holds the time
    before of."""
    chosen = [alert for alert in alerts if name is None or name in (alert["id"], alert["alert"])]
    return min(chosen, key=lambda alert: (alert["early"], alert["tier"] != "page", alert["starts_at"]), default=None)
