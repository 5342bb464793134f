"""The dead-man's switch: silence is an alarm.

Owns: heartbeats of the always-firing Watchdog alert, when their absence (or a Prometheus or Alertmanager that does
not answer) becomes a page, and what that page says. Refuses to know: storage, and how heartbeats are delivered.

Heartbeats alone would notice a dead Prometheus late: Alertmanager goes on repeating the Watchdog until the alert's
end time, which Prometheus sets four resend delays ahead (four minutes by default; `rules/manager.go`). So a part
that does not answer for the same time as heartbeats may be absent is reason enough.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from stack.pager.page import Notice, Page

ALERT = "DeadMansSwitch"
FINGERPRINT = "signalbox-pager-deadman"
MAX_TICK_S = 5.0


@dataclass(frozen=True)
class Part:
    """A part of the alerting chain as last probed. `failing_s` is for how long it has not been ready."""

    name: str
    reason: str | None = None
    failing_s: float = 0.0


@dataclass(frozen=True)
class Health:
    """What is known of the alerting chain at one moment."""

    timeout_s: float
    silent_s: float
    heartbeat_at: float | None  # seconds since the epoch
    parts: tuple[Part, ...]
    grace_s: float = 0.0  # how much longer nothing counts, because the chain has never been whole yet

    @property
    def dead_parts(self) -> tuple[Part, ...]:
        return tuple(part for part in self.parts if part.reason and part.failing_s > self.timeout_s)

    @property
    def is_dead(self) -> bool:
        return self.grace_s <= 0 and (self.silent_s > self.timeout_s or bool(self.dead_parts))

    @property
    def is_alive(self) -> bool:
        """Not the opposite of dead: before the first heartbeat neither is known."""
        return self.heartbeat_at is not None and not self.is_dead


class Deadman:
    """Watches the chain. `report(notice)` is awaited when the switch goes off, when what is broken changes, and
    when heartbeats are back."""

    def __init__(
        self,
        timeout_s: float,
        probes: dict[str, Callable[[], Awaitable[str | None]]],
        open_page: Callable[[], Awaitable[Page | None]],
        report: Callable[[Notice], Awaitable[None]],
        *,
        grace_s: float = 0.0,
    ) -> None:
        """`probes` by part name answer None or why the part is not ready. `open_page` is the switch's own page
        as long as it fires, so that one raised before a restart is resolved after it. For `grace_s`, or until the
        first heartbeat, nothing counts as dead: the parts may still be on their way."""
        self._grace_until = time.monotonic() + grace_s
        self._timeout_s = timeout_s
        self._probes = probes
        self._open_page = open_page
        self._report = report
        self._beat_monotonic = time.monotonic()  # the grace counts from the start
        self._beat_at: float | None = None
        self._parts: dict[str, tuple[str | None, float]] = {}

    def beat(self) -> None:
        self._beat_monotonic = time.monotonic()
        self._beat_at = time.time()
        self._grace_until = 0.0

    def health(self) -> Health:
        now = time.monotonic()
        return Health(
            timeout_s=self._timeout_s,
            silent_s=now - self._beat_monotonic,
            heartbeat_at=self._beat_at,
            grace_s=max(0.0, self._grace_until - now),
            parts=tuple(Part(name, why, now - since if why else 0.0) for name, (why, since) in self._parts.items()),
        )

    async def run(self) -> None:
        """Probes and judges until cancelled."""
        tick_s = min(MAX_TICK_S, self._timeout_s / 10)
        while True:
            await self._probe()
            await self.judge()
            await asyncio.sleep(tick_s)

    async def judge(self) -> None:
        """Raises, updates or resolves the switch's page as the chain's health demands."""
        health, page = self.health(), await self._open_page()
        if health.is_dead:
            starts_at = page.starts_at if page else time.time() - max(health.silent_s, *_failing(health))
            notice = build_notice(health, starts_at)
            if page is None or page.annotations != notice.annotations:
                await self._report(notice)
        elif page is not None and health.is_alive:
            # With the words of the outage: what was broken is what a reader of the past wants to know.
            notice = Notice(FINGERPRINT, "resolved", page.starts_at, None, page.labels, page.annotations)
            await self._report(notice)

    async def _probe(self) -> None:
        reasons = await asyncio.gather(*(probe() for probe in self._probes.values()))
        for name, reason in zip(self._probes, reasons, strict=True):
            before, since = self._parts.get(name, (None, 0.0))
            self._parts[name] = (reason, since if before and reason else time.monotonic())


def build_notice(health: Health, starts_at: float) -> Notice:
    """What does not work, as far as the probes can tell."""
    silent = health.silent_s > health.timeout_s
    broken = [part for part in health.parts if part.reason] if silent else list(health.dead_parts)
    names = " and ".join(part.name for part in broken)
    if names:
        summary = f"Alerting is down: {names} {'does' if len(broken) == 1 else 'do'} not work"
    else:
        summary = "Alerting is down: the Watchdog alert does not get through"
    findings = [f"{part.name}: {part.reason or 'ready'}." for part in health.parts]
    if silent:
        findings.insert(0, f"No heartbeat of the Watchdog alert for more than {health.timeout_s:g} s.")
    if silent and health.parts and not broken:
        findings.append(
            "Both answer, so look between them: does Prometheus evaluate its rules and reach Alertmanager, "
            "and does Alertmanager's Watchdog route lead here?"
        )
    return Notice(
        fingerprint=FINGERPRINT,
        state="firing",
        starts_at=starts_at,
        ends_at=None,
        labels={"alertname": ALERT, "tier": "page", "service": "alerting"},
        annotations={
            "summary": summary,
            "description": " ".join(findings),
            "impact": "Until this is resolved, no other alert is sure to reach you.",
            "runbook": f"docs/runbooks/{ALERT}.md",
        },
    )


def _failing(health: Health) -> list[float]:
    return [part.failing_s for part in health.dead_parts] or [0.0]
