"""What payments answers, or does not, and what the api makes of it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from uuid import uuid4

import httpx2
import pytest

from service import deadline
from service.deadline import DeadlineExceeded
from service.orders import payments_client
from service.orders.model import PaymentRefused, PaymentUnavailable
from service.orders.payments_client import HttpPayments

pytestmark = pytest.mark.anyio

ORDER = uuid4()


async def charge(answer: Callable[[httpx2.Request], httpx2.Response]) -> list[httpx2.Request]:
    """Charge through a transport that answers each request with ``answer``; the requests it saw."""
    seen: list[httpx2.Request] = []

    def respond(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return answer(request)

    async with httpx2.AsyncClient(transport=httpx2.MockTransport(respond), base_url="http://payments") as client:
        try:
            await HttpPayments(client).charge(ORDER, 1250, "EUR")
        except (PaymentUnavailable, PaymentRefused) as error:
            error.add_note(f"{len(seen)} requests")
            raise
    return seen


async def test_the_order_is_the_key_of_the_charge() -> None:
    requests = await charge(lambda request: httpx2.Response(201, content=request.content))
    assert [request.url.path for request in requests] == ["/v1/charges"]
    body = httpx2.Response(200, content=requests[0].content).json()
    assert body == {"order_id": str(ORDER), "amount_cents": 1250, "currency": "EUR"}


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (402, PaymentRefused),
        (500, PaymentUnavailable),
        (503, PaymentUnavailable),
        (409, PaymentUnavailable),
        (404, PaymentUnavailable),
        (302, PaymentUnavailable),
    ],
)
async def test_an_answer_that_is_no_yes_is_told_apart(status: int, error: type[Exception]) -> None:
    with pytest.raises(error) as raised:
        await charge(lambda request: httpx2.Response(status))
    assert raised.value.__notes__ == ["1 requests"]


async def test_a_connection_that_breaks_is_tried_once_more() -> None:
    failures = iter([httpx2.ReadError("reset")])

    def answer(request: httpx2.Request) -> httpx2.Response:
        for failure in failures:
            raise failure
        return httpx2.Response(201, content=request.content)

    bodies = {request.content for request in await charge(answer)}
    assert len(bodies) == 1


@pytest.mark.parametrize(
    ("failure", "requests"),
    [(httpx2.ConnectError("refused"), 2), (httpx2.ReadTimeout("slow"), 1), (httpx2.ConnectTimeout("slow"), 1)],
)
async def test_who_is_not_there_is_tried_twice_and_who_is_slow_once(failure: Exception, requests: int) -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        raise failure

    with pytest.raises(PaymentUnavailable) as raised:
        await charge(answer)
    assert raised.value.__notes__ == [f"{requests} requests"]


async def test_a_server_that_drips_is_given_up_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every header comes in time for httpx, whose own time-out starts anew with each read."""

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            writer.write(b"HTTP/1.1 201 Created\r\n")
            while True:
                writer.write(b"x-drip: drop\r\n")
                await writer.drain()
                await asyncio.sleep(0.02)

    monkeypatch.setattr(payments_client, "DEADLINE_S", 0.3)
    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    clock = asyncio.get_running_loop().time
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=5) as client:
        started = clock()
        with pytest.raises(PaymentUnavailable):
            await HttpPayments(client).charge(ORDER, 1, "EUR")
        assert 0.3 <= clock() - started < 2
    server.close()


@pytest.mark.parametrize(
    "answer",
    [
        httpx2.Response(200, html="<h1>Welcome</h1>"),
        httpx2.Response(201, json={}),
        httpx2.Response(201, json=[]),
        httpx2.Response(201, content=b"[" * 100_000),
        httpx2.Response(201, json={"order_id": str(ORDER), "amount_cents": 1, "currency": "EUR"}),
        httpx2.Response(302, headers={"location": "http://169.254.169.254/"}),
    ],
)
async def test_a_yes_to_something_else_is_no_yes(answer: httpx2.Response) -> None:
    with pytest.raises(PaymentUnavailable):
        await charge(lambda request: answer)


async def test_callers_who_give_up_take_no_connection_with_them() -> None:
    """httpx keeps those for good that were being opened for somebody who waited for one and gave up: a service that was
    overloaded once could not charge ever after.
    """

    async def confirm(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                body = await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))
                await asyncio.sleep(0.01)
                writer.write(b"HTTP/1.1 201 Created\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(confirm, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    draw, clock = random.Random(1), asyncio.get_running_loop().time
    async with payments_client.build_payments_client(url, pool_size=1) as client:
        payments, until = HttpPayments(client), clock() + 2

        async def hurry() -> None:
            while clock() < until:
                token = deadline.begin(payments_client.RESERVE_S + draw.uniform(0.001, 0.05))
                with suppress(DeadlineExceeded):
                    await payments.charge(uuid4(), 1, "EUR")
                deadline.end(token)

        await asyncio.gather(*(hurry() for _ in range(16)))
        for _ in range(4):
            await payments.charge(uuid4(), 1, "EUR")
    server.close()
