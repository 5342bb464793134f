"""Signals of the process itself: event-loop lag, garbage collections, memory, build.

Owns the probes that produce them. Knows nothing of requests.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any, Protocol

from prometheus_client import GCCollector, Metric, PlatformCollector, ProcessCollector
from prometheus_client.registry import Collector

from service.telemetry import catalog
from service.telemetry.instruments import Instruments
from service.telemetry.stalls import LoopWatch

LAG_INTERVAL_S = 0.2
QUEUE_INTERVAL_S = 1.0
READ_TIMEOUT_S = 0.2


class QueueStats(Protocol):
    """What a queue tells of itself: jobs that wait, the age of the oldest in seconds and the failed attempts of the
    unluckiest (0 when none waits), and dead letters.
    """

    @property
    def depth(self) -> int: ...

    @property
    def oldest_age_s(self) -> float: ...

    @property
    def most_attempts(self) -> int: ...

    @property
    def parked(self) -> int: ...


class ProcessFigures(Collector):
    """Memory, CPU and open files of the process. Counting ten thousand open files takes some 12 ms, so ``read``, which
    goes before a scrape, has a thread do it."""

    def __init__(self) -> None:
        self._collector = ProcessCollector(registry=None)
        self._read: list[Metric] = []

    async def read(self) -> None:
        """Look now; ``collect`` then tells this once."""
        with suppress(TimeoutError):  # all threads are busy
            async with asyncio.timeout(READ_TIMEOUT_S):
                self._read = await asyncio.to_thread(lambda: list(self._collector.collect()))

    def collect(self) -> Iterable[Metric]:
        """What was read last, or else what is so now."""
        read, self._read = self._read, []
        return read or self._collector.collect()


def observe_process(instruments: Instruments, service_name: str, version: str, revision: str) -> ProcessFigures:
    """Register the collectors of memory, CPU, descriptors and collections, and say what is running."""
    process = ProcessFigures()
    instruments.registry.register(process)
    PlatformCollector(registry=instruments.registry)
    GCCollector(registry=instruments.registry)
    instruments.build_info.labels(service_name, version, revision).set(1)
    return process


class GarbagePauses:
    """Times each collection through ``gc.callbacks``."""

    def __init__(self, instruments: Instruments) -> None:
        self._children = [instruments.gc_pause.labels(str(generation)) for generation in range(3)]
        self._started = 0.0

    def start(self) -> None:
        gc.callbacks.append(self._callback)

    def stop(self) -> None:
        if self._callback in gc.callbacks:
            gc.callbacks.remove(self._callback)

    def _callback(self, phase: str, info: dict[str, Any]) -> None:
        if phase == "start":
            self._started = time.perf_counter()
        else:
            self._children[info["generation"]].observe(time.perf_counter() - self._started)


async def observe_loop_lag(instruments: Instruments, watch: LoopWatch) -> None:
    """Measure as long as the loop runs how late it runs a timer, and tell ``watch`` whenever it does.

    A timer that sets itself again: a task that sleeps would be woken and put to sleep by two more rounds of the loop.
    """
    loop = asyncio.get_running_loop()
    lag = instruments.tally(instruments.loop_lag, catalog.LOOP_LAG.buckets)
    before = watch.start()

    def beat() -> None:
        nonlocal before, timer
        timer = loop.call_later(LAG_INTERVAL_S, beat)
        now = watch.beat()
        lag.note(max(0.0, now - before - LAG_INTERVAL_S))
        before = now

    timer = loop.call_later(LAG_INTERVAL_S, beat)
    try:
        await loop.create_future()  # until whoever ends the loop cancels this
    finally:
        timer.cancel()
        watch.stop()


async def observe_queue(
    instruments: Instruments,
    name: str,
    stats: Callable[[], Awaitable[QueueStats]],
    problem: Callable[[Exception], None],
) -> None:
    """Read a queue's depth and oldest age for ever, and say when; a failing read is told once a streak and changes no
    gauge, so that whoever scales on them can see how old they are."""
    depth = instruments.queue_depth.labels(name)
    age = instruments.queue_oldest_age.labels(name)
    read = instruments.queue_read.labels(name)
    attempts = instruments.queue_most_attempts.labels(name)
    parked = instruments.queue_parked.labels(name)
    failing = False
    while True:
        try:
            seen = await stats()
            depth.set(seen.depth)
            age.set(seen.oldest_age_s)
            read.set_to_current_time()
            attempts.set(seen.most_attempts)
            parked.set(seen.parked)
            failing = False
        except Exception as error:
            if not failing:
                problem(error)
            failing = True
        await asyncio.sleep(QUEUE_INTERVAL_S)
