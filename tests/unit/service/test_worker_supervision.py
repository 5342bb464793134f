"""A worker without a database keeps trying, says that it is not ready, and leaves when told to."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping

import pytest

from service import worker as worker_module
from service.data.consumer import Consumer
from service.data.schedule import Scheduler
from service.worker import NotConsuming, Worker

pytestmark = pytest.mark.anyio


async def no_job(payload: str, headers: Mapping[str, str]) -> None:
    raise AssertionError("there is no job to do")


def an_unreachable_url() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"postgresql+asyncpg://nobody@127.0.0.1:{probe.getsockname()[1]}/nothing"


async def test_what_fails_is_replaced_until_the_worker_is_told_to_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(worker_module, "LONGEST_PAUSE_S", 0.01)
    url = an_unreachable_url()
    consumers: list[Consumer] = []
    schedulers: list[Scheduler] = []
    third = asyncio.Event()

    def build_consumer() -> Consumer:
        consumers.append(Consumer(url, {"orders.fulfil": no_job}, application_name="test"))
        return consumers[-1]

    def build_scheduler() -> Scheduler:
        schedulers.append(Scheduler(url, {"nothing": "* * * * *"}, application_name="test"))
        if min(len(consumers), len(schedulers)) >= 3:
            third.set()
        return schedulers[-1]

    worker = Worker(build_consumer, build_scheduler)
    with pytest.raises(NotConsuming):
        await worker.ping()
    worker.start()
    await asyncio.wait_for(third.wait(), 10)
    with pytest.raises(NotConsuming):
        await worker.ping()
    await asyncio.wait_for(worker.finish(), 5)
    count = len(consumers), len(schedulers)
    await asyncio.sleep(0.05)
    assert (len(consumers), len(schedulers)) == count


async def test_a_worker_that_never_started_can_be_told_to_leave() -> None:
    url = an_unreachable_url()
    worker = Worker(
        lambda: Consumer(url, {"orders.fulfil": no_job}, application_name="test"),
        lambda: Scheduler(url, {}, application_name="test"),
    )
    await asyncio.wait_for(worker.finish(), 5)
