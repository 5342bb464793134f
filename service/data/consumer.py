"""Takes jobs out of the queue and has them done: deliveries, tries, pauses, and when to give up.

Owns the life of a delivery on top of PgQueuer. Knows no job's meaning. What a job promises: ``data.queue``.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from time import perf_counter, time

from pgqueuer.errors import RetryRequested
from pgqueuer.executors import EntrypointExecutor
from pgqueuer.models import Context, Job
from pgqueuer.qm import QueueManager

from service import deadline, telemetry
from service.data.engines import Password, Timeouts
from service.data.quarantine import DEADLY, CautiousQueries
from service.data.queue import DEADLINE_HEADER, MESSAGING
from service.data.queue_connection import QueueDriver, close, connect

# A killed worker's jobs are back after this long. The beat goes out twice as often, and one that fails leaves time
# for the next (PgQueuer, "Heartbeat": interval T/2, flushed within T/8).
HEARTBEAT_TIMEOUT_S = 6.0
# NOTIFY wakes a worker for a new job; looking again this often finds what nobody announces: abandoned jobs.
POLL_INTERVAL_S = 2.0
# Jobs in hand at once, and how many one look may fetch (PgQueuer wants the former to be twice the latter at least).
CONCURRENCY = 20
BATCH_SIZE = 10
# A job that hangs would keep its heartbeat for ever.
JOB_TIMEOUT_S = 90.0
# 1, 2, 4, 8, 16, 30, 30, … seconds, each shortened or lengthened by a fifth: about ten minutes until a job is parked.
FIRST_DELAY_S = 1.0
LONGEST_DELAY_S = 30.0
JITTER_RATIO = 0.2
MAX_ATTEMPTS = 24

Handler = Callable[[str, Mapping[str, str]], Awaitable[None]]
"""Does one job, given its payload and its headers. Raises to have it tried again, ``Parked`` when that is no use."""


class Parked(Exception):
    """Raised by the work on a job that it is no use to try again: a dead letter. ``reason``: for counting."""

    reason = "refused"


class TooLate(Parked):
    """The time by which the job had to be done is over."""

    reason = "late"


class Unreadable(Parked):
    """This version understands nothing of what the job says; another one may."""

    reason = "unreadable"


OUT_OF_ATTEMPTS = "attempts"
REASONS = (OUT_OF_ATTEMPTS, Parked.reason, TooLate.reason, Unreadable.reason, DEADLY)


class Consumer:
    """Takes jobs out of queues over one connection of its own. For one ``run``: make another to start again."""

    def __init__(
        self,
        database_url: str,
        handlers: Mapping[str, Handler],
        *,
        application_name: str,
        password: Password | None = None,
        timeouts: Timeouts = Timeouts(),
    ) -> None:
        self._database_url = database_url
        self._password = password
        self._timeouts = timeouts
        self._handlers = handlers
        self._application_name = application_name
        self._manager: QueueManager | None = None
        self._in_hand: set[asyncio.Timeout] = set()
        self._stopped = False
        self._log = telemetry.logger(__name__)
        self._durations = {
            (queue, outcome): telemetry.metrics.process_duration.labels(queue, outcome)
            for queue in handlers
            for outcome in ("good", "bad")
        }
        for queue in handlers:  # at zero, so that a first dead letter is seen as an increase
            for reason in REASONS:
                telemetry.metrics.dead_lettered.labels(queue, reason)
        self._attempts = {queue: telemetry.metrics.process_attempts.labels(queue) for queue in handlers}

    @property
    def running(self) -> bool:
        """Whether jobs are being taken out."""
        return self._manager is not None and not self._stopped

    async def run(self) -> None:
        """Work until ``stop``, then finish the jobs in hand. Raises when the database goes away."""
        connection = await connect(self._database_url, self._application_name, self._password, self._timeouts)
        try:
            queries = CautiousQueries(QueueDriver(connection))
            manager = QueueManager(queries)
            queries.in_hand = manager.job_context  # there from being handed out until nothing more is done with it
            for queue in self._handlers:
                manager.entrypoint(queue, on_failure="hold", executor_factory=_Retrying)(self._deliver)
            if self._stopped:
                return
            self._manager = manager
            await manager.run(
                dequeue_timeout=timedelta(seconds=POLL_INTERVAL_S),
                batch_size=BATCH_SIZE,
                max_concurrent_tasks=CONCURRENCY,
                heartbeat_timeout=timedelta(seconds=HEARTBEAT_TIMEOUT_S),
                shutdown_on_listener_failure=True,
            )
        finally:
            self._manager = None
            await close(connection)

    def stop(self) -> None:
        """Fetch no more; ``run`` returns when the jobs in hand are done."""
        self._stopped = True
        if self._manager is not None:
            self._manager.shutdown.set()

    def requeue(self) -> None:
        """Break off the jobs in hand and put them back, for another worker to do at once.

        Never cancel ``run`` instead: PgQueuer takes that as the wish to delete the jobs.
        """
        now = asyncio.get_running_loop().time()
        for timeout in self._in_hand:
            timeout.reschedule(now)

    async def _deliver(self, job: Job) -> None:
        left_s = _left_s(job)
        budget_s = min(JOB_TIMEOUT_S, left_s) if left_s > 0 else JOB_TIMEOUT_S
        timeout = asyncio.timeout(budget_s)
        token = deadline.begin(budget_s)
        try:
            async with timeout:
                self._in_hand.add(timeout)
                await self._process(job)
        except TimeoutError:
            if not (timeout.expired() and self._stopped):
                raise
            raise RetryRequested(reason="the worker stopped before the job was done") from None
        finally:
            deadline.end(token)
            self._in_hand.discard(timeout)

    async def _process(self, job: Job) -> None:
        headers = {key: str(value) for key, value in (job.headers or {}).items()}
        attributes = {
            **MESSAGING,
            "messaging.destination.name": job.entrypoint,
            "messaging.operation.type": "process",
            "messaging.message.id": str(job.id),
            "signalbox.job.attempt": job.attempts,
        }
        outcome = "bad"
        started = perf_counter()
        self._attempts[job.entrypoint].observe(job.attempts + 1)
        try:
            with telemetry.consumer_span(job.entrypoint, headers, attributes=attributes):
                try:
                    if _left_s(job) <= 0:
                        telemetry.metrics.deadline_exceeded.labels("job").inc()
                        raise TooLate("the time by which this job had to be done is over")
                    await self._handlers[job.entrypoint](_payload(job), headers)
                except Exception as error:
                    self._log.warning("job failed", exc_info=error, extra=attributes)
                    raise
                self._log.info("job done", extra=attributes)
            outcome = "good"
        finally:
            self._durations[job.entrypoint, outcome].observe(perf_counter() - started)


class _Retrying(EntrypointExecutor):
    """Tries again with growing, uneven pauses; parks what that does not help. (PgQueuer's own has no jitter, and knows
    no failure that is for good.)
    """

    async def execute(self, job: Job, context: Context) -> None:
        try:
            await super().execute(job, context)
        except RetryRequested:
            raise
        except Exception as error:
            final = isinstance(error, Parked)
            if final or job.attempts + 1 >= MAX_ATTEMPTS:
                reason = error.reason if isinstance(error, Parked) else OUT_OF_ATTEMPTS
                telemetry.metrics.dead_lettered.labels(job.entrypoint, reason).inc()
                told = {"messaging.destination.name": job.entrypoint, "messaging.message.id": str(job.id)}
                telemetry.event("job.parked", {**told, "reason": type(error).__name__})
                raise
            raise RetryRequested(delay=pause_after(job.attempts), reason=type(error).__name__) from error


def pause_after(attempts: int) -> timedelta:
    """How long to wait before the next try, after ``attempts`` and one more have failed."""
    pause_s = min(FIRST_DELAY_S * 2 ** min(attempts, 10), LONGEST_DELAY_S)
    return timedelta(seconds=pause_s * random.uniform(1 - JITTER_RATIO, 1 + JITTER_RATIO))


def _payload(job: Job) -> str:
    try:
        return (job.payload or b"").decode()
    except UnicodeDecodeError:
        raise Unreadable("the payload is no text") from None


def _left_s(job: Job) -> float:
    try:
        return float(str((job.headers or {})[DEADLINE_HEADER])) - time()
    except (KeyError, ValueError):
        return JOB_TIMEOUT_S
