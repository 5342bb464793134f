"""The job queue: PgQueuer's tables, in the same database as what the jobs are about.

Owns how a job is put in and how jobs are counted; ``consumer`` takes them out. Knows no job's meaning.
Why this queue, and what it must never be asked to do: docs/adr/0001-job-queue.md; how a person looks into it and puts
parked jobs back: docs/jobs.md.

A job is inserted by the transaction that makes it necessary, so both commit or neither does. A worker keeps a
heartbeat on each job it works on; when that stops, whichever worker looks next takes the job over. A job is therefore
done at least once, and its effect has to be idempotent.

With a job travel the trace that it belongs to and the time by which it must be done. What is later than that, has
failed too often or killed its workers (``data.quarantine``) is parked: a dead letter, for a person to see.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from time import time

from pgqueuer.queries import Queries
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from service import telemetry
from service.data.engines import PIECE, Databases

# A header of a job: seconds since the epoch by which it must be done. Not a duration, since it waits while time passes.
DEADLINE_HEADER = "deadline"
MESSAGING = {"messaging.system": "pgqueuer"}


@dataclass(frozen=True, slots=True)
class QueueStats:
    """Jobs not done yet and the age of the oldest in seconds, the failed attempts of the unluckiest (each 0 when there
    is none); and jobs that are parked.
    """

    depth: int
    oldest_age_s: float
    most_attempts: int
    parked: int


class _TransactionDriver:
    """Lets PgQueuer work inside a transaction of SQLAlchemy's: same connection, same commit, same span."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def fetch(self, query: str, *args: object) -> list[dict[str, object]]:
        result = await self._connection.exec_driver_sql(query, args)
        return [dict(row) for row in result.mappings()]


async def enqueue(
    connection: AsyncConnection,
    queue: str,
    payload: str,
    headers: Mapping[str, str] | None = None,
    *,
    priority: int = 0,
    within_s: float | None = None,
) -> None:
    """Put a job into ``queue``; it exists when, and only when, the transaction of ``connection`` commits.

    The current trace travels with it, and so do ``headers``. Of jobs that wait, those with the highest ``priority`` are
    taken first. One that is not done ``within_s`` seconds is parked.
    """
    attributes = {**MESSAGING, "messaging.destination.name": queue, "messaging.operation.type": "send"}
    with telemetry.span(f"send {queue}", kind=telemetry.SpanKind.PRODUCER, attributes=attributes):
        envelope = {**(headers or {}), **telemetry.carrier()}
        if within_s is not None:
            envelope[DEADLINE_HEADER] = f"{time() + within_s:.3f}"
        queries = Queries(_TransactionDriver(connection))  # type: ignore[arg-type]  # to enqueue is to fetch, no more
        await queries.enqueue(queue, payload.encode(), priority=priority, headers=envelope)


async def observe_queue(databases: Databases, queue: str) -> QueueStats:
    """What is left to do in ``queue`` at this moment."""
    rows = await databases.read_primary(_LEFT.bindparams(queue=queue))
    row = rows[0]
    return QueueStats(row.depth, float(row.oldest_age_s), row.most_attempts, row.parked)


async def forget_history(databases: Databases, older_than: timedelta) -> None:
    """Delete what PgQueuer noted about finished jobs longer than ``older_than`` ago; it never does so itself."""
    await databases.delete_in_pieces(_FORGET_LOG.bindparams(age=older_than))
    await databases.delete_in_pieces(_FORGET_STATISTICS.bindparams(age=older_than))


_LEFT = text(
    """
    SELECT count(*) FILTER (WHERE waits) AS depth,
           coalesce(extract(epoch FROM now() - min(created) FILTER (WHERE waits)), 0) AS oldest_age_s,
           coalesce(max(attempts) FILTER (WHERE waits), 0) AS most_attempts,
           count(*) FILTER (WHERE NOT waits) AS parked
    FROM (SELECT created, attempts, status <> 'failed' AS waits FROM pgqueuer WHERE entrypoint = :queue) AS jobs
    """
)
_FORGET_LOG = text(
    f"""
    DELETE FROM pgqueuer_log
    WHERE id IN (SELECT id FROM pgqueuer_log WHERE aggregated AND created < now() - :age LIMIT {PIECE})
    """
)
_FORGET_STATISTICS = text(
    f"""
    DELETE FROM pgqueuer_statistics
    WHERE id IN (SELECT id FROM pgqueuer_statistics WHERE created < now() - :age LIMIT {PIECE})
    """
)
