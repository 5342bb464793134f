"""How far each read replica is behind, and so which reads it may answer.

Twice a second a process notes where the primary's log ends and how much of it each replica has replayed. What the
primary had at one look and a replica has at a later one is on the replica for certain; the age of that look is its
lag. A replica that is further behind than ``MOST_LAG_S``, or does not answer, gets no reads until it has caught up.
That a read took too long says nothing of that: its statement may be slow, or the pool full. So a look goes over a
connection that no read ever waits for.

A caller sees his own writes: the position of the log after his last write is his token (a cookie, ``edge.own_writes``),
and a replica answers him only once it is known to have replayed that far.

Owns that knowledge. Knows no table and no HTTP.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from contextvars import ContextVar
from time import monotonic
from typing import Literal

from service import telemetry

INTERVAL_S = 0.5
# Above the interval and a busy replica's usual lag; below what a reader of a catalogue would notice.
MOST_LAG_S = 5.0
# A read that a replica has not answered by then is asked of the primary; a look is answered in a thousandth of it.
TIMEOUT_S = 1.0

Reason = Literal["own-write", "busy", "lag", "away"]
Position = Callable[[], Awaitable[int]]


class Writes:
    """What the caller of the present request has written: up to which position before, and whether anything now."""

    __slots__ = ("position", "written")

    def __init__(self, position: int = 0) -> None:
        self.position = position
        self.written = False


own_writes: ContextVar[Writes | None] = ContextVar("own_writes", default=None)


class Replica:
    """What one process knows of one replica. ``replayed``: how far that is in the log, as a number."""

    def __init__(self, name: str, replayed: Position) -> None:
        self.name = name
        self._replayed = replayed
        self._looks: deque[tuple[float, int]] = deque(maxlen=600)  # the oldest may go: the next one says less, not more
        self._position = 0
        self._caught_up_at = monotonic()
        self._reason: Reason | None = "away"  # until it was seen once
        self._lag = telemetry.metrics.db_replica_lag.labels(name)

    def refuses(self) -> Reason | None:
        """Why the present caller's read must not go to this replica; None when it may."""
        if self._reason is None:
            writes = own_writes.get()
            if writes is not None and (writes.written or writes.position > self._position):
                return "own-write"
        return self._reason

    def failed(self) -> None:
        """It cannot be reached: send no reads until the next look finds it well."""
        self._become("away")

    async def look(self, started: float, primary_end: int | None) -> None:
        """One look, that began at ``started``, when the primary's log ended there; None: it did not say where."""
        if primary_end is not None:
            self._looks.append((started, primary_end))
        try:
            async with asyncio.timeout(TIMEOUT_S):
                self._position = await self._replayed()
        except Exception:  # whatever it is: it does not answer
            self._become("away")
            return
        while self._looks and self._looks[0][1] <= self._position:
            self._caught_up_at = self._looks.popleft()[0]
        if primary_end is not None:
            lag_s = monotonic() - self._caught_up_at
            self._lag.set(lag_s)
            self._become("lag" if lag_s > MOST_LAG_S else None)
        elif self._reason == "away" or not self._looks:
            self._become(None)  # without its primary a replica cannot fall behind, and is all there is

    def _become(self, reason: Reason | None) -> None:
        if reason != self._reason:
            self._reason = reason
            told = {"db.client.connection.pool.name": self.name, "reason": reason or "caught up"}
            telemetry.event("replica.left" if reason else "replica.joined", told)


async def look_at(primary_end: Position, replicas: Sequence[Replica]) -> None:
    """One look at the primary and at all of its replicas."""
    started, end = monotonic(), None
    with suppress(Exception):  # whatever it is: it does not answer
        async with asyncio.timeout(TIMEOUT_S):
            end = await primary_end()
    await asyncio.gather(*(replica.look(started, end) for replica in replicas))


async def watch(primary_end: Position, replicas: Sequence[Replica]) -> None:
    """Look for ever."""
    while True:
        await look_at(primary_end, replicas)
        await asyncio.sleep(INTERVAL_S)
