"""The proof that strangers' connections disturb nobody must see when they do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest

from bench.idle.__main__ import MOST_RATIO, SLACK_MS, judge, run
from bench.idle.malformed import MALFORMED
from bench.idle.pressure import Target, idle, malformed, slow

pytestmark = pytest.mark.anyio
CALM = [float(n % 10 + 1) for n in range(1000)]  # p99 is 10 ms


def test_p99_has_to_stay() -> None:
    most = MOST_RATIO * 10 + SLACK_MS
    assert judge(CALM, [most] * 1000, {})["held"]
    assert not judge(CALM, [*CALM[:980], *[most + 1] * 20], {})["held"]


@pytest.mark.parametrize(
    ("tally", "held"),
    [
        ({"opened": 100, "still_open": 100}, True),
        ({"opened": 100, "still_open": 99}, False),
        ({"opened": 100, "hung_up_on": 100}, True),
        ({"answered_400": 5, "answered_505": 1, "hung_up_on": 3}, True),
        ({"answered_400": 5, "answered_500": 1}, False),
        ({"answered_400": 5, "failed": 1}, False),
    ],
)
def test_nothing_may_be_lost_or_fail(tally: dict[str, int], held: bool) -> None:
    assert judge(CALM, CALM, tally)["held"] is held


@asynccontextmanager
async def shop(*, patience_s: float = 60.0, bad: int = 400) -> AsyncIterator[Target]:
    """Answers what is a request, hangs up on who says nothing whole for ``patience_s``."""
    present: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        present.add(writer)
        try:
            while True:
                head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), patience_s)
                good = head.startswith(b"GET /") and b"Host: shop" in head
                writer.write(b"HTTP/1.1 %d X\r\nContent-Length: 2\r\n\r\nok" % (200 if good else bad))
                if not good:
                    await writer.drain()
                    break
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
            pass
        present.discard(writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield Target("shop", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", "/livez")
        for writer in list(present):
            writer.close()


@pytest.mark.processes
async def test_idle_connections_are_held_or_missed() -> None:
    async with shop() as target:
        seen = await run(target, partial(idle, 300), seconds=0.5, turns=2)
    assert (seen["opened"], seen["still_open"], seen["requests"]) == (600, 600, 200)


@pytest.mark.processes
async def test_idle_connections_that_are_all_lost_are_missed() -> None:
    async with shop(patience_s=1.0) as target:
        seen = await run(target, partial(idle, 50), seconds=2.5, turns=1)
    assert (seen["opened"], seen["still_open"], seen["held"]) == (50, 0, False)


@pytest.mark.processes
async def test_slow_ones_that_are_hung_up_on_come_again() -> None:
    async with shop(patience_s=1.0) as target:
        seen = await run(target, partial(slow, 10), seconds=3.0, turns=1)
    assert seen["hung_up_on"] >= 10
    assert seen["opened"] > seen["hung_up_on"]


@pytest.mark.processes
@pytest.mark.parametrize("bad", [400, 500])
async def test_nonsense_is_counted_by_its_answers(bad: int) -> None:
    async with shop(bad=bad) as target:
        seen = await run(target, partial(malformed, 50), seconds=1.0, turns=1)
    assert seen[f"answered_{bad}"] >= 5
    assert seen[f"answered_{bad}"] + seen["hung_up_on"] + seen.get("answered_200", 0) >= len(MALFORMED)
    if bad == 500:
        assert not seen["held"]
