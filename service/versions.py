"""The versions of the public API, and everything in which they differ.

Version 2 writes money as one object, ``{"cents": 24900, "currency": "EUR"}``. Version 1 has an amount here, a currency
there. Nothing else in the service knows that there was a version 1: to end it, delete its forms and its entry below.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from service.catalog.http import PRODUCT_EXAMPLE, ProductOut, ProductPage
from service.catalog.model import CURRENCY
from service.edge.versioning import Version
from service.orders.http import ORDER_EXAMPLE, ItemOut, OrderOut
from service.orders.model import OrderStatus


def _flat(example: dict[str, Any], name: str, flat: str) -> dict[str, Any]:
    """``example`` of version 2 with the money at ``name`` as a number of cents at ``flat``."""
    return {**{key: value for key, value in example.items() if key != name}, flat: example[name]["cents"]}


_PRODUCT: dict[str, Any] = {**_flat(PRODUCT_EXAMPLE, "price", "price_cents"), "currency": CURRENCY}
_ORDER: dict[str, Any] = {
    **_flat(ORDER_EXAMPLE, "total", "total_cents"),
    "items": [_flat(item, "unit_price", "unit_price_cents") for item in ORDER_EXAMPLE["items"]],
    "currency": CURRENCY,
}


class ProductOutV1(BaseModel):
    """A product as callers of version 1 see it."""

    model_config = ConfigDict(from_attributes=True, json_schema_extra={"example": _PRODUCT})

    id: int
    name: str
    price_cents: int
    currency: str = CURRENCY
    stock: int


class ProductPageV1(BaseModel):
    """Some products by id; ``next_cursor`` is null on the last page."""

    model_config = ConfigDict(
        from_attributes=True, json_schema_extra={"example": {"items": [_PRODUCT], "next_cursor": None}}
    )

    items: list[ProductOutV1]
    next_cursor: str | None


class ItemOutV1(BaseModel):
    """A line of an order at the price that it was ordered for."""

    model_config = ConfigDict(from_attributes=True)

    product_id: int
    quantity: int
    unit_price_cents: int


class OrderOutV1(BaseModel):
    """An order as callers of version 1 see it."""

    model_config = ConfigDict(from_attributes=True, json_schema_extra={"example": _ORDER})

    id: UUID
    user_id: int
    status: OrderStatus
    items: list[ItemOutV1]
    total_cents: int
    currency: str
    created_at: datetime
    fulfilled_at: datetime | None


V1 = Version(
    "v1",
    forms={ProductOut: ProductOutV1, ProductPage: ProductPageV1, ItemOut: ItemOutV1, OrderOut: OrderOutV1},
    deprecated=datetime(2026, 11, 1, tzinfo=UTC),
    sunset=datetime(2027, 11, 1, tzinfo=UTC),
    successor="v2",
)
V2 = Version("v2")
VERSIONS = (V1, V2)
