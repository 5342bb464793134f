"""Faults deeper than a request's beginning strike the request at hand, and give back what they took."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from starlette.requests import Request

from service.data.leaks import ConnectionLeaks
from service.faults import API_FAULTS, Faults
from service.orders.model import PaymentUnavailable
from service.orders.payments_client import HttpPayments

pytestmark = pytest.mark.anyio


class Route:
    path = "/v1/orders"


async def in_a_request(faults: Faults, work: Callable[[], Any]) -> None:
    """Do `work` as a request does that came in while these faults were on."""
    await faults.disturb_response(Request({"type": "http", "headers": [], "route": Route()}))
    await work()


async def calls(faults: Faults, status: int = 201, times: int = 1) -> list[httpx2.Request]:
    """What payments is asked by that many orders."""
    asked: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(request)
        return httpx2.Response(status)

    async with httpx2.AsyncClient(transport=httpx2.MockTransport(answer), base_url="http://payments:1") as client:
        payments = HttpPayments(client)
        for _ in range(times):
            try:
                await in_a_request(faults, lambda: payments.charge(uuid4(), 100, "EUR"))
            except PaymentUnavailable:
                continue
    return asked


async def test_a_detour_changes_the_way_and_not_the_question() -> None:
    faults = Faults(API_FAULTS, allowed=True)
    faults.switch_on("payments-detour", {"url": "http://127.0.0.1:8475"})
    (asked,) = await calls(faults)
    assert (str(asked.url), asked.method) == ("http://127.0.0.1:8475/v1/charges", "POST")
    faults.switch_off("payments-detour")
    (asked,) = await calls(faults)
    assert asked.url.host == "payments"


@pytest.mark.parametrize(
    "url",
    ["http://example.org", "http://example.org:80", "http://127.0.0.1:80/x", "https://127.0.0.1:1", "http://a@x:1"],
)
def test_a_detour_leads_nowhere_but_to_this_machine_or_its_network_of_containers(url: str) -> None:
    Faults(API_FAULTS, allowed=True).switch_on("payments-detour", {"url": "http://toxiproxy:8475"})
    with pytest.raises(ValueError, match="url"):
        Faults(API_FAULTS, allowed=True).switch_on("payments-detour", {"url": url})


async def test_a_naive_client_asks_on_where_the_breaker_would_have_opened() -> None:
    faults = Faults(API_FAULTS, allowed=True)
    patient = len(await calls(faults, status=503, times=40))
    assert patient < 40, "the breaker spares payments"
    faults.switch_on("blind-retries", {"attempts": 3})
    assert len(await calls(faults, status=503, times=40)) == 120
    assert len(await calls(faults, status=201)) == 1, "what succeeds is not asked again"


class Pool:
    """An engine that counts who holds a connection of it."""

    def __init__(self) -> None:
        self.held = 0

    def connect(self) -> Pool:
        return self

    async def __aenter__(self) -> None:
        self.held += 1

    async def __aexit__(self, *error: object) -> None:
        self.held -= 1


async def test_leaked_connections_are_bounded_and_come_back_when_the_fault_ends() -> None:
    faults, pool = Faults(API_FAULTS, allowed=True), Pool()
    leaks = ConnectionLeaks(pool)  # type: ignore[arg-type]

    async def take() -> None:
        leaks.strike()
        await asyncio.sleep(0)

    await in_a_request(faults, take)
    assert pool.held == 0
    for _ in range(2):
        faults.switch_on("connection-leak", {"count": 3})
        for _ in range(5):
            await in_a_request(faults, take)
        assert pool.held == 3
        faults.switch_off("connection-leak")
        for _ in range(3):
            await asyncio.sleep(0)
        assert pool.held == 0
