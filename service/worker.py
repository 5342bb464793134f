"""The worker: does jobs and keeps the schedule for as long as the process lives.

Owns that the queue is always being worked on: a consumer that fails, because the database went away, is replaced after
a pause, and so is a scheduler. Knows nothing of what a job does or how the queue works.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, Protocol, TypeVar

from service import telemetry
from service.data.consumer import Consumer
from service.data.schedule import Scheduler

# A database that restarts is back within seconds.
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 5.0
# Jobs in hand get this long to finish once the process leaves; then they are put back.
FINISH_TIMEOUT_S = 2.0
# Putting back is one statement a job.
REQUEUE_TIMEOUT_S = 3.0


class Runner(Protocol):
    """Something that works until it is told to stop, or fails."""

    async def run(self) -> None: ...

    def stop(self) -> None: ...


R = TypeVar("R", bound=Runner)


class NotConsuming(Exception):
    """No job is being taken out of the queue at the moment."""


class Worker:
    """Runs consumers made by ``build_consumer``, one after the other, and schedulers beside them."""

    def __init__(self, build_consumer: Callable[[], Consumer], build_scheduler: Callable[[], Scheduler]) -> None:
        self._consumer = _Kept(build_consumer, "the queue cannot be worked on")
        self._scheduler = _Kept(build_scheduler, "the schedule cannot be kept")

    def start(self) -> None:
        """Begin. Needs the running event loop."""
        self._consumer.start()
        self._scheduler.start()

    def stop_fetching(self) -> None:
        """Take no more jobs; those in hand go on. May be called from a signal handler's callback."""
        self._consumer.stop()
        self._scheduler.stop()

    async def finish(self) -> None:
        """Stop fetching, then wait for the jobs in hand, or put them back when they take too long."""
        self.stop_fetching()
        await asyncio.gather(self._consumer.ended(FINISH_TIMEOUT_S), self._scheduler.ended(FINISH_TIMEOUT_S))
        if not await self._consumer.ended(0):
            self._consumer.runner.requeue()
            await self._consumer.ended(REQUEUE_TIMEOUT_S)
        # What is still not done is left as it is: once its heartbeat stops, another worker takes it over.

    async def ping(self) -> None:
        """Raise ``NotConsuming`` when jobs are not being taken out."""
        if not self._consumer.runner.running:
            raise NotConsuming


class _Kept(Generic[R]):
    """A runner that is replaced when it fails, until it is to stop."""

    def __init__(self, build: Callable[[], R], trouble: str) -> None:
        self._build = build
        self._trouble = trouble
        self._stopping = asyncio.Event()
        self._work: asyncio.Task[None] | None = None
        self.runner = build()

    def start(self) -> None:
        self._work = asyncio.create_task(self._keep())

    def stop(self) -> None:
        self._stopping.set()
        self.runner.stop()

    async def ended(self, within_s: float) -> bool:
        """Whether it has ended, waiting for that at most so long. It is never cancelled."""
        if self._work is not None and not self._work.done():
            await asyncio.wait({self._work}, timeout=within_s)
        return self._work is None or self._work.done()

    async def _keep(self) -> None:
        pause_s = FIRST_PAUSE_S
        while not self._stopping.is_set():
            try:
                await self.runner.run()
                pause_s = FIRST_PAUSE_S
            except Exception as error:  # whatever it was, the work has to go on
                telemetry.logger(__name__).warning("%s: %s", self._trouble, type(error).__name__, exc_info=error)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), pause_s)
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
            if not self._stopping.is_set():
                self.runner = self._build()
