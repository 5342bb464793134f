"""A charge is made once an order, whoever asks how often; and payments refuses what is no charge."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import FastAPI

from service.errors import install_error_handlers
from service.payments.http import build_router
from service.payments.model import LIMIT_CENTS, NO_CURRENCY, Charge, ChargeStatus

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


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
async def payments(charges: MemoryCharges) -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    install_error_handlers(app)
    app.include_router(build_router(charges))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://payments") as client:
        yield client


def a_charge(**changes: Any) -> dict[str, Any]:
    return {"order_id": str(uuid4()), "amount_cents": 1250, "currency": "EUR", **changes}


async def test_a_charge_is_captured(payments: httpx.AsyncClient) -> None:
    wanted = a_charge()
    answer = await payments.post("/v1/charges", json=wanted)
    assert answer.status_code == 201
    assert answer.json() == {**wanted, "id": answer.json()["id"], "status": "captured"}


async def test_asking_again_answers_the_same_and_charges_nothing(
    payments: httpx.AsyncClient, charges: MemoryCharges
) -> None:
    wanted = a_charge()
    answers = [await payments.post("/v1/charges", json=wanted) for _ in range(3)]
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.text for answer in answers}) == 1
    assert len(charges.kept) == 1


@pytest.mark.parametrize("change", [{"amount_cents": 1251}, {"currency": "USD"}])
async def test_an_order_is_not_charged_a_second_amount(payments: httpx.AsyncClient, change: dict[str, Any]) -> None:
    wanted = a_charge()
    await payments.post("/v1/charges", json=wanted)
    answer = await payments.post("/v1/charges", json={**wanted, **change})
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:signalbox:problem:charge-mismatch")


async def test_a_refusal_is_final(payments: httpx.AsyncClient) -> None:
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
    payments: httpx.AsyncClient, charges: MemoryCharges, change: dict[str, Any], field: str
) -> None:
    answer = await payments.post("/v1/charges", json=a_charge(**change))
    assert answer.status_code == 422
    assert [error["location"] for error in answer.json()["errors"]] == [field]
    assert "4111" not in answer.text
    assert not charges.kept


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"\\ud800": 1}', b"\xff"])
async def test_what_is_no_document_is_refused(payments: httpx.AsyncClient, body: bytes) -> None:
    answer = await payments.post("/v1/charges", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"] == "application/problem+json"


async def test_an_order_that_is_given_up_gets_its_money_back_once(payments: httpx.AsyncClient) -> None:
    wanted = a_charge()
    charge = (await payments.post("/v1/charges", json=wanted)).json()
    answers = [await payments.delete(f"/v1/charges/{wanted['order_id']}") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert {answer.text for answer in answers} == {answers[0].text}
    assert answers[0].json() == {**charge, "status": "refunded"}


async def test_an_order_that_was_given_up_cannot_be_charged_any_more(payments: httpx.AsyncClient) -> None:
    wanted = a_charge()
    assert (await payments.delete(f"/v1/charges/{wanted['order_id']}")).json()["status"] == "voided"
    late = await payments.post("/v1/charges", json=wanted)
    assert (late.status_code, late.json()["type"]) == (402, "urn:signalbox:problem:charge-cancelled")
