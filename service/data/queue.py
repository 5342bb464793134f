"""The job queue: PgQueuer's tables, in the same database as what the jobs are about.

Owns how a job is put in, and how jobs are taken out, tried again, parked and counted. Knows no job's meaning.
Why this queue, and what it must never be asked to do: docs/adr/0001-job-queue.md.

A job is inserted by the transaction that makes it necessary, so both commit or neither does. A worker keeps a
heartbeat on each job it works on; when that stops for ``HEARTBEAT_TIMEOUT_S``, whichever worker looks next takes the
job over. A job is therefore done at least once, and its effect has to be idempotent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from time import perf_counter

import asyncpg
from pgqueuer.db import AsyncpgDriver
from pgqueuer.errors import RetryRequested
from pgqueuer.executors import DatabaseRetryEntrypointExecutor, EntrypointExecutorParameters
from pgqueuer.models import Job
from pgqueuer.qm import QueueManager
from pgqueuer.queries import Queries
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncConnection

from service import deadline, telemetry
from service.data.engines import Databases, Timeouts

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
# 1, 2, 4, 8, 16, 30, 30, … seconds: about ten minutes of trying before a job is parked as failed.
FIRST_DELAY_S = 1.0
LONGEST_DELAY_S = 30.0
MAX_ATTEMPTS = 24
CONNECT_TIMEOUT_S = Timeouts().connect_s
# The connection that listens and fetches; longer than any of its statements takes.
COMMAND_TIMEOUT_S = 10.0


_MESSAGING = {"messaging.system": "pgqueuer"}

Handler = Callable[[str, Mapping[str, str]], Awaitable[None]]
"""Does one job, given its payload and its headers. Raises to have it tried again."""


@dataclass(frozen=True, slots=True)
class QueueStats:
    """Jobs not done yet (parked ones do not count) and the age of the oldest in seconds, 0 when there is none."""

    depth: int
    oldest_age_s: float


class _TransactionDriver:
    """Lets PgQueuer work inside a transaction of SQLAlchemy's: same connection, same commit, same span."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def fetch(self, query: str, *args: object) -> list[dict[str, object]]:
        result = await self._connection.exec_driver_sql(query, args)
        return [dict(row) for row in result.mappings()]


async def enqueue(
    connection: AsyncConnection, queue: str, payload: str, headers: Mapping[str, str] | None = None
) -> None:
    """Put a job into ``queue``; it exists when, and only when, the transaction of ``connection`` commits.

    The current trace travels with it, and so do ``headers``.
    """
    attributes = {**_MESSAGING, "messaging.destination.name": queue, "messaging.operation.type": "send"}
    with telemetry.span(f"send {queue}", kind=telemetry.SpanKind.PRODUCER, attributes=attributes):
        envelope = {**(headers or {}), **telemetry.carrier()}
        queries = Queries(_TransactionDriver(connection))  # type: ignore[arg-type]  # to enqueue is to fetch, no more
        await queries.enqueue(queue, payload.encode(), headers=envelope)


async def observe_queue(databases: Databases, queue: str) -> QueueStats:
    """What is left to do in ``queue`` at this moment."""
    rows = await databases.read_primary(_LEFT.bindparams(queue=queue))
    return QueueStats(depth=rows[0].depth, oldest_age_s=float(rows[0].oldest_age_s))


async def forget_history(databases: Databases, older_than: timedelta) -> None:
    """Delete what PgQueuer noted about finished jobs longer than ``older_than`` ago; it never does so itself."""
    async with databases.transaction() as connection:
        await connection.execute(_FORGET_LOG.bindparams(age=older_than))
        await connection.execute(_FORGET_STATISTICS.bindparams(age=older_than))


_LEFT = text(
    "SELECT count(*) AS depth, coalesce(extract(epoch FROM now() - min(created)), 0) AS oldest_age_s"
    " FROM pgqueuer WHERE entrypoint = :queue AND status IN ('queued', 'picked')"
)
_FORGET_LOG = text("DELETE FROM pgqueuer_log WHERE aggregated AND created < now() - :age")
_FORGET_STATISTICS = text("DELETE FROM pgqueuer_statistics WHERE created < now() - :age")


class Consumer:
    """Takes jobs out of queues over one connection of its own. For one ``run``: make another to start again."""

    def __init__(self, database_url: str, handlers: Mapping[str, Handler], *, application_name: str) -> None:
        self._dsn = make_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)
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

    @property
    def running(self) -> bool:
        """Whether jobs are being taken out."""
        return self._manager is not None and not self._stopped

    async def run(self) -> None:
        """Work until ``stop``, then finish the jobs in hand. Raises when the database goes away."""
        connection = await asyncpg.connect(
            self._dsn,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=COMMAND_TIMEOUT_S,
            server_settings={"application_name": self._application_name},
        )
        try:
            manager = QueueManager(Queries(AsyncpgDriver(connection)))
            for queue in self._handlers:
                manager.entrypoint(queue, on_failure="hold", executor_factory=_retrying)(self._deliver)
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
            await _close(connection)

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
        timeout = asyncio.timeout(JOB_TIMEOUT_S)
        token = deadline.begin(JOB_TIMEOUT_S)
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
            **_MESSAGING,
            "messaging.destination.name": job.entrypoint,
            "messaging.operation.type": "process",
            "messaging.message.id": str(job.id),
            "signalbox.job.attempt": job.attempts,
        }
        outcome = "bad"
        started = perf_counter()
        try:
            with telemetry.consumer_span(job.entrypoint, headers, attributes=attributes):
                try:
                    await self._handlers[job.entrypoint]((job.payload or b"").decode(), headers)
                except Exception as error:
                    self._log.warning("job failed", exc_info=error, extra=attributes)
                    raise
                self._log.info("job done", extra=attributes)
            outcome = "good"
        finally:
            self._durations[job.entrypoint, outcome].observe(perf_counter() - started)


def _retrying(parameters: EntrypointExecutorParameters) -> DatabaseRetryEntrypointExecutor:
    return DatabaseRetryEntrypointExecutor(
        parameters,
        max_attempts=MAX_ATTEMPTS,
        initial_delay=timedelta(seconds=FIRST_DELAY_S),
        max_delay=timedelta(seconds=LONGEST_DELAY_S),
    )


async def _close(connection: asyncpg.Connection) -> None:
    try:
        await connection.close(timeout=1)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        connection.terminate()
