"""The load of a scenario, and waiting for what it does: rest before it, a record while it runs, its rate steered.

Owns what stands around every scenario. Judges nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from bench.scaling.ground import Ground, Tell
from bench.scaling.record import QUERIES, Record, recording
from bench.scaling.traffic import Leg, Traffic, rate_at
from stack.controlplane.cluster import await_true
from stack.errors import StackError

WAIT_MS = 1200  # how long payments takes for a charge
BASE_PER_S, SPIKE = 2.4, 10
PEAK_PER_S = BASE_PER_S * SPIKE
BUSY_PER_S = PEAK_PER_S * 0.75  # four replicas' worth
CLIMB_MINUTES = 8
PAGES_END_MINUTES = 60  # the longest short window of a page is half an hour


class Loaded:
    """Rest first; then traffic and a record for the length of the block, while payments takes its time."""

    def __init__(self, ground: Ground, tell: Tell, name: str, wait_ms: int = WAIT_MS) -> None:
        self._ground, self._tell, self._name, self._wait_ms = ground, tell, name, wait_ms
        self._traffic = Traffic(ground.url("gateway"), ground.url("issuer"), seed=7)

    async def __aenter__(self) -> tuple[Traffic, Record]:
        self._tell(f"{self._name}: coming to rest")
        await rest(self._ground)
        await self._ground.fault("payments", "charge-latency", ms=self._wait_ms)
        self._recording = recording(self._ground, self._traffic)
        record = await self._recording.__aenter__()
        self._progress = asyncio.create_task(self._report(record))
        return self._traffic, record

    async def __aexit__(self, *reason: Any) -> None:
        self._progress.cancel()
        await asyncio.sleep(1.5)  # the last second is seen too
        await self._recording.__aexit__(*reason)
        await self._traffic.close()
        await self._ground.fault("payments", "charge-latency")

    async def _report(self, record: Record) -> None:
        while True:
            await asyncio.sleep(10)
            if record.samples:
                now = record.last
                pressure = "–" if now.pressure is None else f"{now.pressure:.2f}"
                self._tell(
                    f"{self._name}: {now.at_s:.0f} s, {now.rate_per_s:.1f} orders/s, {now.ready} of {now.wished}"
                    f" replicas, pressure {pressure}, {record.bad} of {record.sent} bad"
                )


async def rest(ground: Ground) -> None:
    """Wait until no page holds capacity any more, the last scenario's that is; then bring the workload to its least
    replicas, by pausing the autoscaler there and letting it go on.
    """
    least = ground.policy.minimum
    query = QUERIES["paging"].format(name=ground.policy.name)

    async def unpaged() -> bool:
        ground.plane.check()
        return await ground.prometheus.value(query) == 0

    await await_true(unpaged, "the end of all pages", PAGES_END_MINUTES * 60 / ground.clock)
    if await ground.replicas() == least and ground.kubelet.ready == least:
        return
    await ground.autoscaler.pause(ground.cluster, least)

    async def rests() -> bool:
        ground.plane.check()
        return await ground.replicas() == least and ground.kubelet.ready == least

    await await_true(rests, "the workload at rest", 120)
    await ground.autoscaler.apply(ground.cluster)


def steered(
    traffic: Traffic, ground: Ground, rate_per_s: float = BUSY_PER_S
) -> tuple[asyncio.Task[None], Callable[[float], None]]:
    """Load that climbs to a rate and stays; and what sets another rate.

    It climbs slower than the spike: here replicas that came late, and the page of it, would only be in the way.
    """
    legs = [Leg(CLIMB_MINUTES * 60 / ground.clock, BASE_PER_S, rate_per_s), Leg(float("inf"), rate_per_s, rate_per_s)]
    began = time.monotonic()

    def set_rate(wanted: float) -> None:
        now = time.monotonic() - began
        legs[:] = [Leg(now, rate_at(legs, now) or wanted, wanted), Leg(float("inf"), wanted, wanted)]

    return asyncio.create_task(traffic.run(legs)), set_rate


async def stop(load: asyncio.Task[None]) -> None:
    load.cancel()
    await asyncio.gather(load, return_exceptions=True)


async def until_busy(ground: Ground, record: Record) -> int:
    """At least four replicas, and no more wished for during a minute; how many."""
    least = min(4, ground.policy.maximum)
    await seen(record, lambda: record.last.wished >= least, f"{least} replicas", 15, ground)
    await minutes_pass(ground, 2)
    await seen(record, lambda: record.last.ready >= record.last.wished, "ready replicas", 10, ground)
    return record.last.wished


async def minutes_pass(ground: Ground, minutes: float) -> None:
    await asyncio.sleep(minutes * 60 / ground.clock)


async def seen(record: Record, look: Callable[[], bool], what: str, minutes: float, ground: Ground) -> None:
    """Return when it is seen. Raises StackError after so many minutes of the clock's world, and never before 60 s."""
    deadline = time.monotonic() + max(60.0, minutes * 60 / ground.clock)
    while not (record.samples and look()):
        ground.plane.check()
        if time.monotonic() > deadline:
            last = record.last if record.samples else None
            raise StackError(f"{what} did not come. Last seen: {last}")
        await asyncio.sleep(0.25)
