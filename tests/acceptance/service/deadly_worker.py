"""A worker for the tests: real queue, real process, and jobs that do what their payload says.

``deadly`` kills the process as the kernel would; ``wrong`` fails; any other payload becomes a row in ``effects``, once.
Run as ``python -m tests.acceptance.service.deadly_worker``; the queue's times are shortened so that tests
need not wait.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping

from sqlalchemy import text

from service.data import consumer
from service.data.engines import Databases, build_engine
from service.data.schedule import Scheduler
from service.worker import Worker

QUEUE = "test.deeds"
TICKS = "test.ticks"

_EFFECT = text("INSERT INTO effects VALUES (:payload) ON CONFLICT DO NOTHING")


def main() -> None:
    consumer.HEARTBEAT_TIMEOUT_S = 1.0
    consumer.POLL_INTERVAL_S = 0.3
    consumer.FIRST_DELAY_S = consumer.LONGEST_DELAY_S = 0.2
    consumer.MAX_ATTEMPTS = 4
    asyncio.run(work(os.environ["SIGNALBOX_DATABASE_URL"]))


async def work(url: str) -> None:
    databases = Databases(build_engine(url, pool_size=5, application_name="deadly"))

    async def deed(payload: str, headers: Mapping[str, str]) -> None:
        if payload == "deadly":
            await asyncio.sleep(0.05)  # others are in hand by now
            os.kill(os.getpid(), signal.SIGKILL)
        if payload == "wrong":
            raise ValueError("what I was told makes no sense")
        async with databases.transaction() as connection:
            await connection.execute(_EFFECT.bindparams(payload=payload or "tick"))
        await asyncio.sleep(0.1)

    worker = Worker(
        lambda: consumer.Consumer(url, {QUEUE: deed, TICKS: deed}, application_name="deadly/queue"),
        lambda: Scheduler(url, {TICKS: "* * * * * */2"}, application_name="deadly/schedule"),
    )
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    worker.start()
    await stop.wait()
    await worker.finish()
    await databases.dispose()


if __name__ == "__main__":
    main()
