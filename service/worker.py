"""The worker: does jobs for as long as the process lives, and keeps house meanwhile.

Owns that the queue is always being worked on: a consumer that fails, because the database went away, is replaced after
a pause. Knows nothing of what a job does or how the queue works.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from service import telemetry
from service.data.queue import Consumer

# A database that restarts is back within seconds.
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 5.0
# Jobs in hand get this long to finish once the process leaves; then they are put back.
FINISH_TIMEOUT_S = 2.0
# Putting back is one statement a job.
REQUEUE_TIMEOUT_S = 3.0


@dataclass(frozen=True, slots=True)
class Chore:
    """Something to be done every ``interval_s``, by any number of workers at once."""

    name: str
    interval_s: float
    do: Callable[[], Awaitable[object]]


class NotConsuming(Exception):
    """No job is being taken out of the queue at the moment."""


class Worker:
    """Runs consumers made by ``build_consumer``, one after the other, and ``chores`` beside them."""

    def __init__(self, build_consumer: Callable[[], Consumer], chores: Sequence[Chore]) -> None:
        self._build_consumer = build_consumer
        self._chores = chores
        self._consumer = build_consumer()
        self._stopping = asyncio.Event()
        self._work: asyncio.Task[None] | None = None
        self._chore_tasks: list[asyncio.Task[None]] = []
        self._log = telemetry.logger(__name__)

    def start(self) -> None:
        """Begin. Needs the running event loop."""
        self._work = asyncio.create_task(self._keep_consuming())
        self._chore_tasks = [asyncio.create_task(self._repeat(chore)) for chore in self._chores]

    def stop_fetching(self) -> None:
        """Take no more jobs; those in hand go on. May be called from a signal handler's callback."""
        self._stopping.set()
        self._consumer.stop()

    async def finish(self) -> None:
        """Stop fetching, then wait for the jobs in hand, or put them back when they take too long."""
        self.stop_fetching()
        for task in self._chore_tasks:
            task.cancel()
        await asyncio.gather(*self._chore_tasks, return_exceptions=True)
        if self._work is None:
            return
        await asyncio.wait({self._work}, timeout=FINISH_TIMEOUT_S)
        if not self._work.done():
            self._consumer.requeue()
            await asyncio.wait({self._work}, timeout=REQUEUE_TIMEOUT_S)
        # What is still not done is left as it is: once its heartbeat stops, another worker takes it over.

    async def ping(self) -> None:
        """Raise ``NotConsuming`` when jobs are not being taken out."""
        if not self._consumer.running:
            raise NotConsuming

    async def _keep_consuming(self) -> None:
        pause_s = FIRST_PAUSE_S
        while not self._stopping.is_set():
            try:
                await self._consumer.run()
                pause_s = FIRST_PAUSE_S
            except Exception as error:  # whatever it was, jobs have to go on being done
                self._log.warning("the queue cannot be worked on: %s", type(error).__name__, exc_info=error)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), pause_s)
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
            if not self._stopping.is_set():
                self._consumer = self._build_consumer()

    async def _repeat(self, chore: Chore) -> None:
        while True:
            await asyncio.sleep(chore.interval_s)
            try:
                await chore.do()
            except Exception as error:  # it is tried again in any case
                self._log.warning("%s failed: %s", chore.name, type(error).__name__, exc_info=error)
