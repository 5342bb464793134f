"""A job that was in hand when its worker died is handed out alone, and nothing else until its end is written down."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import uuid4

import asyncpg
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job
from pgqueuer.ports.repository import EntrypointExecutionParameter
from pgqueuer.types import QueueEntrypoint, QueueManagerId

from service.data import migrations
from service.data.quarantine import CautiousQueries
from tests.acceptance.service.conftest import Addresses

QUEUE = QueueEntrypoint("test.suspects")
PATIENCE_S = 60.0


class Worker:
    """Looks at the queue as a worker does; what becomes of a job is for the test to say."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self.queries = CautiousQueries(AsyncpgDriver(connection))
        self.queries.in_hand = self.doing = set[int]()
        self._id = QueueManagerId(uuid4())

    async def look(self, stale_after_s: float = PATIENCE_S) -> list[Job]:
        return await self.queries.dequeue(
            batch_size=10,
            entrypoints={QUEUE: EntrypointExecutionParameter(concurrency_limit=0)},
            queue_manager_id=self._id,
            global_concurrency_limit=20,
            heartbeat_timeout=timedelta(seconds=stale_after_s),
        )

    async def wrote_down(self, job: Job) -> None:
        await self.queries.log_jobs([(job, "successful", None)])


def test_what_is_done_but_not_written_down_still_holds_back_the_next_suspect(
    addresses: Addresses, scratch: str
) -> None:
    async def follow() -> None:
        await migrations.apply(addresses.url(scratch))
        connection = await asyncpg.connect(addresses.dsn(scratch), timeout=10)
        try:
            dead, alive = Worker(connection), Worker(connection)
            await dead.queries.enqueue([QUEUE] * 3, [b"a", b"b", b"c"], [0] * 3)
            assert len(await dead.look()) == 3
            await asyncio.sleep(0.1)

            [first] = await alive.look(stale_after_s=0.1)
            assert first.payload == b"a"
            assert await alive.look() == []  # done, perhaps; but a death now would undo that
            await alive.wrote_down(first)

            [second] = await alive.look()
            assert second.payload == b"b"
            alive.doing.add(second.id)
            await asyncio.sleep(0.1)
            assert [job.id for job in await alive.look(stale_after_s=0.1)] == [second.id], (
                "late, but in hand: not c too"
            )
            alive.doing.clear()
            await alive.wrote_down(second)
            assert [job.payload for job in await alive.look()] == [b"c"], "held back by nothing"
        finally:
            await connection.close()

    asyncio.run(follow())
