"""A worker without a database keeps trying, says that it is not ready, and leaves when told to."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping

import pytest

from service import worker as worker_module
from service.data.queue import Consumer
from service.worker import Chore, NotConsuming, Worker

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def no_job(payload: str, headers: Mapping[str, str]) -> None:
    raise AssertionError("there is no job to do")


def an_unreachable_url() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"postgresql+asyncpg://nobody@127.0.0.1:{probe.getsockname()[1]}/nothing"


async def test_a_consumer_that_fails_is_replaced_until_the_worker_is_told_to_leave(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker_module, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(worker_module, "LONGEST_PAUSE_S", 0.01)
    url, built, chores = an_unreachable_url(), [], []
    third = asyncio.Event()

    def build() -> Consumer:
        built.append(Consumer(url, {"orders.fulfil": no_job}, application_name="test"))
        if len(built) == 3:
            third.set()
        return built[-1]

    async def chore() -> None:
        chores.append(len(built))
        raise RuntimeError("tried again all the same")

    worker = Worker(build, [Chore("a chore", 0.01, chore)])
    with pytest.raises(NotConsuming):
        await worker.ping()
    worker.start()
    await asyncio.wait_for(third.wait(), 10)
    with pytest.raises(NotConsuming):
        await worker.ping()
    await asyncio.wait_for(worker.finish(), 5)
    count = len(built), len(chores)
    assert count[1] >= 1
    await asyncio.sleep(0.05)
    assert (len(built), len(chores)) == count


async def test_a_worker_that_never_started_can_be_told_to_leave() -> None:
    worker = Worker(lambda: Consumer(an_unreachable_url(), {"orders.fulfil": no_job}, application_name="test"), [])
    await asyncio.wait_for(worker.finish(), 5)
