"""How far the read replica is behind, and so which reads it may answer.

Twice a second a process notes where the primary's log ends and how much of it the replica has replayed. What the
primary had at one look and the replica has at a later one is on the replica for certain; the age of that look is the
lag. A replica that is further behind than ``MOST_LAG_S``, or does not answer, gets no reads until it has caught up.

A caller sees his own writes: the position of the log after his last write is his token (a cookie, ``edge.own_writes``),
and the replica answers him only once it is known to have replayed that far.

Owns that knowledge. Knows no table and no HTTP.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from time import monotonic
from typing import Literal

from service import telemetry

INTERVAL_S = 0.5
# Above the interval and a busy replica's usual lag; below what a reader of a catalogue would notice.
MOST_LAG_S = 5.0
# A read that the replica does not answer within this is asked of the primary.
TIMEOUT_S = 1.0

Reason = Literal["own-write", "lag", "away"]
Position = Callable[[], Awaitable[int]]


class Writes:
    """What the caller of the present request has written: up to which position before, and whether anything now."""

    __slots__ = ("position", "written")

    def __init__(self, position: int = 0) -> None:
        self.position = position
        self.written = False


own_writes: ContextVar[Writes | None] = ContextVar("own_writes", default=None)


class Replica:
    """What one process knows of the replica. ``primary_end`` and ``replayed``: positions of the log as numbers."""

    def __init__(self, primary_end: Position, replayed: Position) -> None:
        self._primary_end = primary_end
        self._replayed = replayed
        self._looks: deque[tuple[float, int]] = deque(maxlen=600)  # the oldest may go: the next one says less, not more
        self._position = 0
        self._caught_up_at = monotonic()
        self._reason: Reason | None = "away"  # until it was seen once
        self._lag = telemetry.metrics.db_replica_lag

    def refuses(self) -> Reason | None:
        """Why the present caller's read must not go to the replica; None when it may."""
        if self._reason is None:
            writes = own_writes.get()
            if writes is not None and (writes.written or writes.position > self._position):
                return "own-write"
        return self._reason

    def failed(self) -> None:
        """A read could not be answered: send none until the next look finds it well."""
        self._become("away")

    async def look(self) -> None:
        """One look at both servers."""
        started = monotonic()
        primary_answers = True
        try:
            async with asyncio.timeout(TIMEOUT_S):
                self._looks.append((started, await self._primary_end()))
        except Exception:  # without its primary the replica cannot fall behind, and is all there is
            primary_answers = False
        try:
            async with asyncio.timeout(TIMEOUT_S):
                self._position = await self._replayed()
        except Exception:  # whatever it is: it does not answer
            self._become("away")
            return
        while self._looks and self._looks[0][1] <= self._position:
            self._caught_up_at = self._looks.popleft()[0]
        if primary_answers:
            lag_s = monotonic() - self._caught_up_at
            self._lag.set(lag_s)
            self._become("lag" if lag_s > MOST_LAG_S else None)
        elif self._reason == "away":
            self._become(None)

    async def watch(self) -> None:
        """Look for ever."""
        while True:
            await self.look()
            await asyncio.sleep(INTERVAL_S)

    def _become(self, reason: Reason | None) -> None:
        if reason != self._reason:
            self._reason = reason
            telemetry.event("replica.left" if reason else "replica.joined", {"reason": reason or "caught up"})
