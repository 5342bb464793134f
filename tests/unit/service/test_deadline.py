"""A request gets the time that it has, no more than its caller wants to wait, and says so when that is over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx2
import pytest
from fastapi import FastAPI

from service import deadline
from service.deadline import HEADER, DeadlineExceeded, DeadlineMiddleware

pytestmark = pytest.mark.anyio


@pytest.fixture
def cancelled() -> list[str]:
    return []


@pytest.fixture
async def client(cancelled: list[str]) -> AsyncIterator[httpx2.AsyncClient]:
    app = FastAPI()

    @app.get("/left")
    async def left() -> float:
        return deadline.left_s(at_most=100)

    @app.get("/slow")
    async def slow() -> None:
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            cancelled.append("slow")
            raise

    @app.get("/wrong")
    async def wrong() -> None:
        raise TimeoutError("of its own")

    app.add_middleware(DeadlineMiddleware, budget_s=2.0)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://api") as client:
        yield client


@pytest.mark.parametrize(
    ("header", "most", "least"),
    [(None, 2, 1.9), ("500", 0.5, 0.4), ("60000", 2, 1.9), ("-1", 2, 1.9), ("1e3", 2, 1.9), ("9" * 30, 2, 1.9)],
)
async def test_a_caller_may_shorten_the_budget_and_nobody_lengthens_it(
    client: httpx2.AsyncClient, header: str | None, most: float, least: float
) -> None:
    answer = await client.get("/left", headers={HEADER: header} if header else {})
    assert least < answer.json() <= most


async def test_what_takes_longer_is_cancelled_and_answered_with_a_problem(
    client: httpx2.AsyncClient, cancelled: list[str]
) -> None:
    answer = await client.get("/slow", headers={HEADER: "50"})
    assert answer.status_code == 504
    assert answer.json()["type"] == "urn:signalbox:problem:deadline-exceeded"
    assert cancelled == ["slow"]


async def test_a_time_out_of_somebody_elses_is_left_alone(client: httpx2.AsyncClient) -> None:
    with pytest.raises(TimeoutError, match="of its own"):
        await client.get("/wrong")


async def test_without_a_budget_a_call_takes_what_it_may() -> None:
    assert deadline.left_s(at_most=3) == 3
    token = deadline.begin(0)
    with pytest.raises(DeadlineExceeded):
        deadline.left_s(at_most=3)
    deadline.end(token)
    assert deadline.left_s(at_most=3) == 3
