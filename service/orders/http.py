"""Orders over HTTP. Owns the form of requests and responses, and nothing else."""

from __future__ import annotations

from datetime import datetime
from hashlib import sha256
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Header, Response
from pydantic import BaseModel, ConfigDict, Field, field_validator

from service import telemetry
from service.catalog.http import MoneyOut
from service.edge.caller import Caller
from service.edge.description import UNAVAILABLE, headers
from service.edge.gate import Gate, GatedRoute, MissingScope, NoUser, Unauthenticated
from service.edge.pagination import MAX_ID
from service.edge.versioning import Version
from service.errors import problem_responses
from service.orders import workflow
from service.orders.model import (
    IdempotencyKey,
    KeyInUse,
    KeyResult,
    KeyReused,
    Line,
    NotYours,
    Order,
    OrderNotFound,
    OrderStatus,
    OutOfStock,
    PaymentRefused,
    PaymentUnavailable,
    ReservationExpired,
    UnknownProduct,
    UnknownUser,
)
from service.orders.workflow import OrderKeys, OrderRepository, Payments

MAX_LINES = 20
MAX_QUANTITY = 100

ORDER_EXAMPLE: dict[str, Any] = {
    "id": "0b8f7f0e-5a0c-4d5f-9a5e-2f6f3f0d7c11",
    "user_id": 7,
    "status": "placed",
    "items": [{"product_id": 42, "quantity": 1, "unit_price": {"cents": 24_900, "currency": "EUR"}}],
    "total": {"cents": 24_900, "currency": "EUR"},
    "created_at": "2026-01-31T12:00:00Z",
    "fulfilled_at": None,
}

IdempotencyKeyHeader = Annotated[
    str | None,
    Header(
        pattern="^[!-~]{1,255}$",
        description="A name of the client's for this order. Repeating the request with it orders nothing more.",
        examples=["8e03978e-40d5-43dd-bc93-6894a57f9324"],
    ),
]
Id = Annotated[int, Field(strict=True, ge=1, le=MAX_ID)]


class LineIn(BaseModel):
    """So many of a product."""

    model_config = ConfigDict(extra="forbid")

    product_id: Id
    quantity: Annotated[int, Field(strict=True, ge=1, le=MAX_QUANTITY)]


class OrderIn(BaseModel):
    """What to order. Each product is listed once."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"user_id": 7, "items": [{"product_id": 42, "quantity": 1}]}},
    )

    user_id: Id
    items: Annotated[list[LineIn], Field(min_length=1, max_length=MAX_LINES)]

    @field_validator("items")
    @classmethod
    def _each_product_once(cls, items: list[LineIn]) -> list[LineIn]:
        if len({item.product_id for item in items}) < len(items):
            raise ValueError("a product may be listed once only")
        return items


class ItemOut(BaseModel):
    """A line of an order at the price that it was ordered for."""

    model_config = ConfigDict(from_attributes=True)

    product_id: int
    quantity: int
    unit_price: MoneyOut


class OrderOut(BaseModel):
    """An order as callers see it."""

    model_config = ConfigDict(
        from_attributes=True,
        json_schema_extra={"example": ORDER_EXAMPLE},
    )

    id: UUID
    user_id: int
    status: OrderStatus
    items: list[ItemOut]
    total: MoneyOut
    created_at: datetime
    fulfilled_at: datetime | None


def build_router(
    orders: OrderRepository, keys: OrderKeys, payments: Payments, version: Version, gate: Gate
) -> APIRouter:
    """Routes under ``/orders``. A user orders and reads for himself, a service for anybody."""
    router = APIRouter(
        prefix=f"{version.prefix}/orders", tags=["orders"], deprecated=version.ends, route_class=GatedRoute
    )
    for result in KeyResult:  # they exist at zero, so that a first one is seen as an increase
        telemetry.metrics.idempotency_keys.labels(result)
    refusals = (Unauthenticated, MissingScope, NoUser, *UNAVAILABLE)
    order_form = version.form(OrderOut)

    @router.post(
        "",
        response_model=order_form,
        status_code=201,
        responses={
            201: {"headers": headers("Location", "Idempotency-Replayed", "Set-Cookie")},
            **problem_responses(
                *refusals,
                *(NotYours, KeyInUse, KeyReused),
                *(UnknownUser, UnknownProduct, OutOfStock, PaymentRefused, PaymentUnavailable, ReservationExpired),
            ),
        },
    )
    async def place_order(
        body: OrderIn,
        response: Response,
        idempotency_key: IdempotencyKeyHeader = None,
        caller: Caller = gate.needs("orders:write"),
    ) -> Order:
        """Order and pay. What is answered with 201 is paid for, and will be fulfilled."""
        workflow.check_buyer(caller, body.user_id)
        lines = [Line(item.product_id, item.quantity) for item in body.items]
        if idempotency_key is None:
            order = await workflow.place_order(orders, payments, body.user_id, lines)
        else:
            key = IdempotencyKey(caller.subject, idempotency_key, sha256(body.model_dump_json().encode()).digest())
            order, again = await workflow.place_order_once(orders, payments, keys, key, body.user_id, lines)
            response.headers["Idempotency-Replayed"] = "true" if again else "false"
        response.headers["Location"] = f"{version.prefix}/orders/{order.id}"
        return order

    @router.get("/{order_id}", response_model=order_form, responses=problem_responses(*refusals, OrderNotFound))
    async def get_order(order_id: UUID, caller: Caller = gate.needs("orders:read")) -> Order:
        """One order."""
        return await workflow.get_order(orders, order_id, caller)

    return router
