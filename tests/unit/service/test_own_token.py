"""A token of our own: fetched once for all, renewed before anybody notices, and used while the issuer is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import httpx2
import jwt
import pytest

from service import deadline, own_token
from service.deadline import DeadlineExceeded
from service.orders.model import PaymentUnavailable
from service.orders.payments_client import HttpPayments
from service.own_token import OwnToken, TokenUnavailable
from tests.unit.service.issuers import AUDIENCE, CLIENT, ISSUER, SECRET, Issuer

pytestmark = pytest.mark.anyio


class Clock:
    """The monotonic clock of the module under test, moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(own_token, "monotonic", clock)
    monkeypatch.setattr("service.errand.monotonic", clock)
    return clock


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
async def own(issuer: Issuer, clock: Clock) -> AsyncIterator[OwnToken]:
    async with httpx2.AsyncClient(transport=issuer) as client:
        yield build(client)


def build(client: httpx2.AsyncClient, secret: str = SECRET) -> OwnToken:
    async def read() -> str:
        return secret

    return OwnToken(client, ISSUER, CLIENT, read, scope="charges:write", audience=AUDIENCE)


async def settle() -> None:
    """Let what goes on in the background come to its end."""
    for _ in range(50):
        await asyncio.sleep(0)


async def test_all_who_ask_at_once_wait_for_one_answer_and_later_ones_for_none(own: OwnToken, issuer: Issuer) -> None:
    tokens = await asyncio.gather(*(own.get() for _ in range(20)))
    assert len({*tokens, await own.get()}) == 1
    assert issuer.asked == ["/.well-known/openid-configuration", "/token"]
    claims = jwt.decode(tokens[0], options={"verify_signature": False})
    assert (claims["sub"], claims["scope"], claims["aud"]) == (f"client:{CLIENT}", "charges:write", AUDIENCE)


async def test_it_is_renewed_in_the_background_before_it_ends(own: OwnToken, issuer: Issuer, clock: Clock) -> None:
    first = await own.get()
    clock.now += 0.79 * 3600
    assert await own.get() == first
    await settle()
    assert issuer.asked.count("/token") == 1
    clock.now += 0.02 * 3600
    issuer.answers.clear()  # the issuer takes its time, and nobody waits for it
    assert await own.get() == first
    issuer.answers.set()
    await settle()
    assert await own.get() != first
    assert issuer.asked.count("/token") == 2


async def test_an_issuer_that_is_away_is_not_noticed_while_the_token_is_good(
    own: OwnToken, issuer: Issuer, clock: Clock
) -> None:
    first = await own.get()
    issuer.away = True
    for _ in range(7):  # past the time of renewal, into the last minutes
        clock.now += 500
        assert await own.get() == first
        await settle()
    clock.now += 95
    with pytest.raises(TokenUnavailable):
        await own.get()
    issuer.away = False
    clock.now += own_token.PAUSE_S
    assert await own.get() != first


def failures() -> float:
    registry = own_token.telemetry.metrics.registry
    return registry.get_sample_value("own_token_fetches_total", {"outcome": "bad"}) or 0.0


async def test_an_issuer_that_is_away_is_asked_once_a_second_however_many_want_a_token(
    own: OwnToken, issuer: Issuer, clock: Clock
) -> None:
    issuer.away = True
    asked = 0
    before = failures()
    for _ in range(30):
        clock.now += 0.1
        with pytest.raises(TokenUnavailable):
            await own.get()
        asked += 1
    assert asked == 30
    assert failures() - before == 3


async def test_nobody_waits_longer_than_his_deadline(own: OwnToken, issuer: Issuer) -> None:
    issuer.answers.clear()
    begun = asyncio.get_running_loop().time()
    token = deadline.begin(0.05)
    try:
        with pytest.raises(TokenUnavailable):
            await own.get()
        assert asyncio.get_running_loop().time() - begun < 1
        with pytest.raises(DeadlineExceeded):
            await own.get()
    finally:
        deadline.end(token)
    issuer.answers.set()
    assert await own.get(), "who gave up has left the answer to the others"
    assert issuer.asked.count("/token") == 1


async def test_a_wrong_secret_is_told_without_showing_it(
    issuer: Issuer, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    async with httpx2.AsyncClient(transport=issuer) as client:
        with pytest.raises(TokenUnavailable):
            await build(client, "hunter2").get()
    assert "HTTPStatusError 401" in caplog.text
    assert "hunter2" not in caplog.text


@pytest.mark.parametrize(
    "answer", [{}, {"access_token": "x", "expires_in": "soon"}, {"access_token": "x", "expires_in": None}, [], "x"]
)
async def test_an_answer_that_is_no_token_is_none(clock: Clock, answer: object) -> None:
    def respond(request: httpx2.Request) -> httpx2.Response:
        document = {"issuer": ISSUER, "token_endpoint": f"{ISSUER}/oauth/token"}
        return httpx2.Response(200, json=document if request.method == "GET" else answer)

    async with httpx2.AsyncClient(transport=httpx2.MockTransport(respond)) as client:
        with pytest.raises(TokenUnavailable):
            await build(client).get()


async def test_an_answer_that_is_nested_without_end_is_none(clock: Clock) -> None:
    transport = httpx2.MockTransport(lambda request: httpx2.Response(200, content=b"[" * 100_000))
    async with httpx2.AsyncClient(transport=transport) as client:
        with pytest.raises(TokenUnavailable):
            await build(client).get()


# Payments asked with it


class Payments(httpx2.MockTransport):
    """Charges for whoever has a token that is not withdrawn."""

    def __init__(self) -> None:
        super().__init__(self.respond)
        self.withdrawn: set[str] = set()
        self.asked: list[str] = []

    def respond(self, request: httpx2.Request) -> httpx2.Response:
        authorization = request.headers.get("authorization", "")
        self.asked.append(authorization)
        if not authorization.startswith("Bearer ") or authorization in self.withdrawn:
            return httpx2.Response(401)
        return httpx2.Response(201, content=request.content)


async def charge(payments: HttpPayments) -> None:
    await payments.charge(uuid4(), 1250, "EUR")


async def test_payments_that_does_not_believe_the_token_is_asked_once_more_with_another(
    own: OwnToken, issuer: Issuer, clock: Clock
) -> None:
    transport = Payments()
    async with httpx2.AsyncClient(transport=transport, base_url="http://payments") as client:
        payments = HttpPayments(client, own)
        await charge(payments)
        transport.withdrawn.add(transport.asked[0])
        clock.now += 60
        await charge(payments)
        assert [one in transport.withdrawn for one in transport.asked] == [True, True, False]
        transport.withdrawn.add(transport.asked[-1])
        issuer.away = True
        clock.now += 60
        with pytest.raises(PaymentUnavailable, match="no token"):
            await charge(payments)
        assert len(transport.asked) == 4


async def test_without_a_token_payments_is_not_asked_and_its_circuit_stays_closed(
    own: OwnToken, issuer: Issuer, clock: Clock
) -> None:
    issuer.away = True
    transport = Payments()
    async with httpx2.AsyncClient(transport=transport, base_url="http://payments") as client:
        payments = HttpPayments(client, own)
        for _ in range(20):
            clock.now += 1
            with pytest.raises(PaymentUnavailable, match="no token"):
                await charge(payments)
        assert transport.asked == []
        issuer.away = False
        clock.now += 1
        await charge(payments)
