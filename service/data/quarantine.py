"""Jobs that were in hand when a worker died are done one at a time, until it is known which of them kills workers.

PgQueuer counts the attempts that fail, but one that takes its worker with it leaves no trace of having failed: such a
job would be taken over for ever, and kill for ever. What it does leave is the log of having been picked: a job that was
picked again without having been put back is a suspect, and so is every other job that the dead worker had in hand. A
suspect is handed out alone, when nothing else is in hand, so that the next death convicts the right one; after
``MOST_DEATHS`` it is parked as a dead letter.

Owns that rule, as a layer over PgQueuer's dequeue. Knows no job's meaning.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

from pgqueuer.db import Driver
from pgqueuer.models import Job, TracebackRecord
from pgqueuer.queries import Queries

from service import telemetry

MOST_DEATHS = 3
DEADLY = "deaths"  # why it was parked, for counting

# How often each was picked since it was last queued: once, unless its worker died.
_PICKS = """
    SELECT job_id, count(*) AS picks FROM pgqueuer_log AS log
    WHERE job_id = ANY($1) AND status = 'picked' AND id > coalesce(
        (SELECT max(id) FROM pgqueuer_log AS other WHERE other.job_id = log.job_id AND other.status <> 'picked'), 0)
    GROUP BY job_id
"""
# As if it had not been picked this time: what it is suspected of is neither added to nor forgotten.
_PUT_BACK = """
    WITH put_back AS (
        UPDATE pgqueuer SET status = 'queued', queue_manager_id = NULL WHERE id = ANY($1) RETURNING id
    )
    DELETE FROM pgqueuer_log WHERE id IN (
        SELECT (SELECT max(id) FROM pgqueuer_log WHERE job_id = put_back.id AND status = 'picked') FROM put_back)
"""
# Given to one worker and neither done nor put back, as far as is written down; its heart beats.
_UNSETTLED = """
    SELECT id FROM pgqueuer
    WHERE status = 'picked' AND queue_manager_id = $1 AND heartbeat > now() - $2::interval
"""


class WorkerDied(Exception):
    """Why a job was parked that never failed."""


class CautiousQueries(Queries):
    """PgQueuer's statements, but for the jobs that a look at the queue brings."""

    def __init__(self, driver: Driver) -> None:
        super().__init__(driver)
        self.in_hand: Container[int] = ()
        """The ids of the jobs that are being done here; kept by whoever does them."""
        self._waits = False  # for nothing to be unsettled: a suspect is next, or is being done

    async def dequeue(self, *args: Any, **options: Any) -> list[Job]:
        """As PgQueuer's; nothing while a suspect is being done, and a suspect only by itself."""
        if self._waits and await self._unsettled(options):
            return []
        self._waits = False
        jobs = await super().dequeue(*args, **options)
        return await self._choose(jobs, options) if jobs else []

    async def _unsettled(self, options: Mapping[str, Any]) -> set[int]:
        """What the database knows to be in this worker's hands. An account of our own could differ from it, and then
        nothing would be done again; nor would it know what is done but not yet written down, which a death undoes.
        """
        rows = await self.driver.fetch(_UNSETTLED, options["queue_manager_id"], options["heartbeat_timeout"])
        return {int(str(row["id"])) for row in rows}

    async def _choose(self, jobs: Sequence[Job], options: Mapping[str, Any]) -> list[Job]:
        rows = await self.driver.fetch(_PICKS, _ids(jobs))
        picks = {int(str(row["job_id"])): int(str(row["picks"])) for row in rows}
        # One that is in hand here was merely late with its heartbeat.
        suspects = [job for job in jobs if picks.get(job.id, 1) > 1 and job.id not in self.in_hand]
        if not suspects:
            return list(jobs)
        convicted = [job for job in suspects if picks[job.id] > MOST_DEATHS]
        await self._park(convicted)
        suspects = [job for job in suspects if job not in convicted]
        others = [job for job in jobs if job not in suspects and job not in convicted]
        if not suspects:
            return others
        self._waits = True
        if await self._unsettled(options) - {job.id for job in jobs if job.id not in self.in_hand}:
            await self.driver.execute(_PUT_BACK, _ids(suspects))
            return others
        await self.driver.execute(_PUT_BACK, _ids([*suspects[1:], *others]))
        return suspects[:1]

    async def _park(self, jobs: Iterable[Job]) -> None:
        for job in jobs:
            died = WorkerDied(f"{MOST_DEATHS} workers died with this job in hand")
            await self.log_jobs([(job, "failed", TracebackRecord.from_exception(died, job.id))])
            told = {"messaging.destination.name": job.entrypoint, "messaging.message.id": str(job.id)}
            telemetry.metrics.dead_lettered.labels(job.entrypoint, DEADLY).inc()
            telemetry.event("job.parked", {**told, "reason": str(died)})


def _ids(jobs: Iterable[Job]) -> list[int]:
    return [job.id for job in jobs]
