"""Who passes the gate, and what those are told who do not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import httpx2
import pytest
from fastapi import APIRouter, FastAPI

from service.data.cache import build_cache_client
from service.edge.caller import ANY_USER, Caller
from service.edge.gate import Gate, GatedRoute, Refusal
from service.edge.quota import Policy
from service.edge.ratelimit import RateLimits
from service.edge.signin import TokenSignIn
from service.errors import install_error_handlers
from service.telemetry.testing import Recorded, record
from tests.unit.service.issuers import AUDIENCE, ISSUER, Issuer

pytestmark = pytest.mark.anyio

NOBODY = "redis://127.0.0.1:1/0"  # limits are then counted in this process


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    with record("api") as recorded:
        yield recorded


@pytest.fixture
async def client(issuer: Issuer, recorded: Recorded) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(transport=issuer) as asking:
        limits = RateLimits(build_cache_client(NOBODY, pool_size=1), Policy(5, 60), {})
        gate = Gate(limits, TokenSignIn(asking, ISSUER, AUDIENCE))
        router = APIRouter(route_class=GatedRoute)

        @router.get("/orders")
        async def get_orders(caller: Caller = gate.needs("orders:read")) -> str:
            return caller.subject

        app = FastAPI()
        install_error_handlers(app)
        app.include_router(router)
        recorded.telemetry.instrument_app(app)
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://api") as asked:
            yield asked


async def ask(client: httpx2.AsyncClient, authorization: str | None) -> tuple[int, str]:
    """The status, and what the answer or the problem is."""
    answer = await client.get("/orders", headers={"authorization": authorization} if authorization else {})
    told = answer.json()
    return answer.status_code, told["type"].rpartition(":")[2] if isinstance(told, dict) else told


async def test_a_user_of_ours_and_a_service_for_all_users_pass(client: httpx2.AsyncClient, issuer: Issuer) -> None:
    assert await ask(client, f"Bearer {issuer.token()}") == (200, "user:7")
    support = issuer.token(sub="support", scope=f"orders:read {ANY_USER}")
    assert await ask(client, f"Bearer {support}") == (200, "service:support")


async def test_who_is_no_user_of_ours_is_told_so(client: httpx2.AsyncClient, issuer: Issuer) -> None:
    """Not that everything he asks for is not there, which would send him looking for the wrong mistake."""
    assert await ask(client, f"Bearer {issuer.token(sub='auth0|5f7c8ec7c33c6c004bbafe82')}") == (403, "no-user")


async def test_everybody_else_is_refused(client: httpx2.AsyncClient, issuer: Issuer) -> None:
    assert await ask(client, None) == (401, "unauthenticated")
    assert await ask(client, f"Basic {issuer.token()}") == (401, "unauthenticated")
    assert await ask(client, f"Bearer {issuer.token(scope='orders:write')}") == (403, "missing-scope")


async def test_why_is_in_the_metric_the_span_and_the_line_and_the_token_nowhere(
    client: httpx2.AsyncClient, issuer: Issuer, recorded: Recorded
) -> None:
    def refused(kind: str, reason: str = "") -> float:
        labels = {"kind": kind, "reason": reason}
        found = recorded.telemetry.instruments.registry.get_sample_value("problems_total", labels)
        assert found is not None, labels
        return found

    assert [refused("unauthenticated", reason) for reason in Refusal] == [0.0] * len(Refusal)
    good, late = issuer.token(), issuer.token(aud="else")
    await ask(client, f"Bearer {good}")
    assert not [key for key in recorded.line("GET /orders 200") if key.startswith("signalbox.problem")]
    recorded.clear()
    await ask(client, f"Bearer {late}")
    told = {"signalbox.problem.kind": "unauthenticated", "signalbox.problem.reason": "audience"}
    assert told.items() <= recorded.line("GET /orders 401").items()
    assert told.items() <= recorded.attributes(recorded.span("GET /orders")).items()
    for _ in range(6):  # five a minute: one too many, counted by the address
        await ask(client, f"Bearer {late}")
    assert (refused("unauthenticated", "audience"), refused("too-many-requests")) == (5.0, 2.0)
    last = recorded.lines()[-1]
    assert last["signalbox.problem.kind"] == "too-many-requests"
    assert "signalbox.problem.reason" not in last, "the kind says it all"
    everything = recorded.everything()
    assert not [part for token in (good, late) for part in token.split(".") if part in everything]
