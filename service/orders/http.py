"""Orders over HTTP. Owns the form of requests and responses, and nothing else."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field, field_validator

from service.edge.pagination import MAX_ID
from service.errors import problem_responses
from service.orders import workflow
from service.orders.model import (
    Line,
    Order,
    OrderNotFound,
    OrderStatus,
    OutOfStock,
    PaymentRefused,
    PaymentUnavailable,
    UnknownProduct,
    UnknownUser,
)
from service.orders.workflow import OrderRepository, Payments

MAX_LINES = 20
MAX_QUANTITY = 100

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
    unit_price_cents: int


class OrderOut(BaseModel):
    """An order as callers see it."""

    model_config = ConfigDict(
        from_attributes=True,
        json_schema_extra={
            "example": {
                "id": "0b8f7f0e-5a0c-4d5f-9a5e-2f6f3f0d7c11",
                "user_id": 7,
                "status": "placed",
                "items": [{"product_id": 42, "quantity": 1, "unit_price_cents": 24_900}],
                "total_cents": 24_900,
                "currency": "EUR",
                "created_at": "2026-01-31T12:00:00Z",
                "fulfilled_at": None,
            }
        },
    )

    id: UUID
    user_id: int
    status: OrderStatus
    items: list[ItemOut]
    total_cents: int
    currency: str
    created_at: datetime
    fulfilled_at: datetime | None


def build_router(orders: OrderRepository, payments: Payments) -> APIRouter:
    """Routes under ``/v1/orders``."""
    router = APIRouter(prefix="/v1/orders", tags=["orders"])
    refusals = problem_responses(UnknownUser, UnknownProduct, OutOfStock, PaymentRefused, PaymentUnavailable)

    @router.post("", response_model=OrderOut, status_code=201, responses=refusals)
    async def place_order(body: OrderIn, response: Response) -> Order:
        """Order and pay. What is answered with 201 is paid for, and will be fulfilled."""
        lines = [Line(item.product_id, item.quantity) for item in body.items]
        order = await workflow.place_order(orders, payments, body.user_id, lines)
        response.headers["Location"] = f"/v1/orders/{order.id}"
        return order

    @router.get("/{order_id}", response_model=OrderOut, responses=problem_responses(OrderNotFound))
    async def get_order(order_id: UUID) -> Order:
        """One order."""
        return await workflow.get_order(orders, order_id)

    return router
