"""Charges over HTTP, for services of ours whose token says so. Owns the form of requests and responses, and nothing
else.
"""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from service.edge.gate import Gate, GatedRoute, MissingScope, Unauthenticated
from service.edge.pagination import MAX_ID
from service.errors import problem_responses
from service.payments import workflow
from service.payments.model import Charge, ChargeCancelled, ChargeMismatch, ChargeRefused, ChargeStatus
from service.payments.workflow import ChargeRepository

SCOPE = "charges:write"

_ORDER_ID = "0b8f7f0e-5a0c-4d5f-9a5e-2f6f3f0d7c11"


class ChargeIn(BaseModel):
    """What to charge. The order is the key: asking again with the same order charges nothing more."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"order_id": _ORDER_ID, "amount_cents": 24_900, "currency": "EUR"}},
    )

    order_id: UUID
    amount_cents: Annotated[int, Field(strict=True, ge=1, le=MAX_ID)]
    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")]


class ChargeOut(BaseModel):
    """A charge as callers see it."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    order_id: UUID
    amount_cents: int
    currency: str
    status: ChargeStatus


def build_router(charges: ChargeRepository, gate: Gate) -> APIRouter:
    """Routes under ``/v1/charges``."""
    router = APIRouter(
        prefix="/v1/charges",
        tags=["payments"],
        route_class=GatedRoute,
        dependencies=[gate.needs(SCOPE, for_users=False)],
    )
    refusals = (Unauthenticated, MissingScope)

    @router.post(
        "",
        response_model=ChargeOut,
        status_code=201,
        responses=problem_responses(*refusals, ChargeRefused, ChargeCancelled, ChargeMismatch),
    )
    async def create_charge(body: ChargeIn) -> Charge:
        """Charge for an order. Idempotent by order: a repetition answers like the first time."""
        return await workflow.charge_order(charges, body.order_id, body.amount_cents, body.currency)

    @router.delete("/{order_id}", response_model=ChargeOut, responses=problem_responses(*refusals))
    async def cancel_charge(order_id: UUID) -> Charge:
        """Give an order up: its charge is refunded, and one that is still on its way will be refused. Idempotent."""
        return await workflow.cancel_charge(charges, order_id)

    return router
