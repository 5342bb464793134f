"""What is done again and again: at its time each becomes a job, with all that a job has.

Owns the clockwork on top of PgQueuer's. Knows no job's meaning.
"""

from __future__ import annotations

from collections.abc import Mapping

from pgqueuer.models import Schedule
from pgqueuer.queries import Queries
from pgqueuer.sm import SchedulerManager

from service.data.engines import Password, Timeouts
from service.data.queue_connection import QueueDriver, close, connect


class Scheduler:
    """Puts a job without payload into each queue of ``schedule`` whenever its time has come (a cron expression, with
    seconds as its sixth field), unless the one before is still waiting. One of all workers does it. For one ``run``.
    """

    def __init__(
        self,
        database_url: str,
        schedule: Mapping[str, str],
        *,
        application_name: str,
        password: Password | None = None,
        timeouts: Timeouts = Timeouts(),
    ) -> None:
        self._database_url = database_url
        self._password = password
        self._timeouts = timeouts
        self._schedule = schedule
        self._application_name = application_name
        self._manager: SchedulerManager | None = None
        self._stopped = False

    async def run(self) -> None:
        """Work until ``stop``. Raises when the database goes away."""
        connection = await connect(self._database_url, self._application_name, self._password, self._timeouts)
        try:
            queries = Queries(QueueDriver(connection))

            async def enqueue_due(due: Schedule) -> None:
                await queries.enqueue(due.entrypoint, b"", dedupe_key=due.entrypoint, on_conflict="skip")

            manager = SchedulerManager(queries)
            for queue, expression in self._schedule.items():
                manager.schedule(queue, expression)(enqueue_due)
            if self._stopped:
                return
            self._manager = manager
            await manager.run()
        finally:
            self._manager = None
            await close(connection)

    def stop(self) -> None:
        """Put nothing in any more."""
        self._stopped = True
        if self._manager is not None:
            self._manager.shutdown.set()
