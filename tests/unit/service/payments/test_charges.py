"""A charge is made once an order, whoever asks how often; and payments refuses what is no charge."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest
from fastapi import FastAPI

from service.edge.caller import ANY_USER
from service.edge.gate import Gate
from service.edge.signin import TokenSignIn
from service.errors import install_error_handlers
from service.payments.http import build_router
from service.payments.model import LIMIT_CENTS, NO_CURRENCY, Charge, ChargeStatus
from tests.unit.service.issuers import AUDIENCE, ISSUER, Issuer

pytestmark = pytest.mark.anyio


class MemoryCharges:
    """Charges in a dictionary."""

    def __init__(self) -> None:
        self.kept: dict[UUID, Charge] = {}

    async def add_once(self, charge: Charge) -> Charge:
        return self.kept.setdefault(charge.order_id, charge)

    async def cancel(self, order_id: UUID) -> tuple[Charge, bool]:
        before = self.kept.get(order_id)
        after = before or Charge(uuid4(), order_id, 0, NO_CURRENCY, ChargeStatus.VOIDED)
        if after.status is ChargeStatus.CAPTURED:
            after = replace(after, status=ChargeStatus.REFUNDED)
        self.kept[order_id] = after
        return after, after != before


@pytest.fixture
def charges() -> MemoryCharges:
    return MemoryCharges()


@pytest.fixture
async def payments(charges: MemoryCharges) -> AsyncIterator[httpx2.AsyncClient]:
    async with asked_through(Gate(None, None), charges) as client:
        yield client


@asynccontextmanager
async def asked_through(gate: Gate, charges: MemoryCharges) -> AsyncIterator[httpx2.AsyncClient]:
    app = FastAPI()
    install_error_handlers(app)
    app.include_router(build_router(charges, gate))
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://payments") as client:
        yield client


def a_charge(**changes: Any) -> dict[str, Any]:
    return {"order_id": str(uuid4()), "amount_cents": 1250, "currency": "EUR", **changes}


async def test_a_charge_is_captured(payments: httpx2.AsyncClient) -> None:
    wanted = a_charge()
    answer = await payments.post("/v1/charges", json=wanted)
    assert answer.status_code == 201
    assert answer.json() == {**wanted, "id": answer.json()["id"], "status": "captured"}


async def test_asking_again_answers_the_same_and_charges_nothing(
    payments: httpx2.AsyncClient, charges: MemoryCharges
) -> None:
    wanted = a_charge()
    answers = [await payments.post("/v1/charges", json=wanted) for _ in range(3)]
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.text for answer in answers}) == 1
    assert len(charges.kept) == 1


@pytest.mark.parametrize("change", [{"amount_cents": 1251}, {"currency": "USD"}])
async def test_an_order_is_not_charged_a_second_amount(payments: httpx2.AsyncClient, change: dict[str, Any]) -> None:
    wanted = a_charge()
    await payments.post("/v1/charges", json=wanted)
    answer = await payments.post("/v1/charges", json={**wanted, **change})
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:signalbox:problem:charge-mismatch")


async def test_a_refusal_is_final(payments: httpx2.AsyncClient) -> None:
    wanted = a_charge(amount_cents=LIMIT_CENTS + 1)
    for _ in range(2):
        answer = await payments.post("/v1/charges", json=wanted)
        assert (answer.status_code, answer.json()["type"]) == (402, "urn:signalbox:problem:charge-refused")
    assert (await payments.post("/v1/charges", json=a_charge(amount_cents=LIMIT_CENTS))).status_code == 201


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"order_id": "1"}, "body.order_id"),
        ({"amount_cents": 0}, "body.amount_cents"),
        ({"amount_cents": 2**63}, "body.amount_cents"),
        ({"amount_cents": "1250"}, "body.amount_cents"),
        ({"amount_cents": 12.5}, "body.amount_cents"),
        ({"amount_cents": True}, "body.amount_cents"),
        ({"currency": "eur"}, "body.currency"),
        ({"currency": "EUR\n"}, "body.currency"),
        ({"card_number": "4111111111111111"}, "body.card_number"),
    ],
)
async def test_what_is_no_charge_is_refused(
    payments: httpx2.AsyncClient, charges: MemoryCharges, change: dict[str, Any], field: str
) -> None:
    answer = await payments.post("/v1/charges", json=a_charge(**change))
    assert answer.status_code == 422
    assert [error["location"] for error in answer.json()["errors"]] == [field]
    assert "4111" not in answer.text
    assert not charges.kept


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"\\ud800": 1}', b"\xff"])
async def test_what_is_no_document_is_refused(payments: httpx2.AsyncClient, body: bytes) -> None:
    answer = await payments.post("/v1/charges", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"] == "application/problem+json"


async def test_an_order_that_is_given_up_gets_its_money_back_once(payments: httpx2.AsyncClient) -> None:
    wanted = a_charge()
    charge = (await payments.post("/v1/charges", json=wanted)).json()
    answers = [await payments.delete(f"/v1/charges/{wanted['order_id']}") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert {answer.text for answer in answers} == {answers[0].text}
    assert answers[0].json() == {**charge, "status": "refunded"}


async def test_an_order_that_was_given_up_cannot_be_charged_any_more(payments: httpx2.AsyncClient) -> None:
    wanted = a_charge()
    assert (await payments.delete(f"/v1/charges/{wanted['order_id']}")).json()["status"] == "voided"
    late = await payments.post("/v1/charges", json=wanted)
    assert (late.status_code, late.json()["type"]) == (402, "urn:signalbox:problem:charge-cancelled")


async def test_nobody_charges_or_refunds_without_a_token_that_is_for_that(charges: MemoryCharges) -> None:
    issuer, wanted = Issuer(), a_charge()
    strangers = {
        None: 401,
        "Bearer guessed": 401,
        f"Bearer {issuer.token(scope=f'orders:write {ANY_USER}')}": 403,
        f"Bearer {issuer.token(scope='charges:write', aud='else')}": 401,
    }
    async with (
        httpx2.AsyncClient(transport=issuer) as asking,
        asked_through(Gate(None, TokenSignIn(asking, ISSUER, AUDIENCE)), charges) as payments,
    ):
        for authorization, status in strangers.items():
            headers = {"authorization": authorization} if authorization else {}
            assert (await payments.post("/v1/charges", json=wanted, headers=headers)).status_code == status
            assert (await payments.post("/v1/charges", content=b"[", headers=headers)).status_code == status
            gone = await payments.delete(f"/v1/charges/{wanted['order_id']}", headers=headers)
            assert gone.status_code == status
        assert not charges.kept
        service = {"authorization": f"Bearer {issuer.token(sub='client:signalbox', scope='charges:write')}"}
        assert (await payments.post("/v1/charges", json=wanted, headers=service)).status_code == 201
        gone = await payments.delete(f"/v1/charges/{wanted['order_id']}", headers=service)
        assert gone.json()["status"] == "refunded"
