"""The catalogue over HTTP. Owns the form of requests and responses, and nothing else."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from service.catalog import workflow
from service.catalog.model import CURRENCY, Product, ProductNotFound
from service.catalog.workflow import ProductRepository
from service.edge.pagination import DEFAULT_LIMIT, MAX_ID, MAX_LIMIT, InvalidCursor, Page
from service.errors import problem_responses

_PRODUCT: dict[str, Any] = {
    "id": 42,
    "name": "Sturdy Walnut Desk",
    "price_cents": 24_900,
    "currency": CURRENCY,
    "stock": 998_120,
}


class ProductOut(BaseModel):
    """A product as callers see it."""

    model_config = ConfigDict(from_attributes=True, json_schema_extra={"example": _PRODUCT})

    id: int
    name: str
    price_cents: int
    currency: str = CURRENCY
    stock: int


class ProductPage(BaseModel):
    """Some products by id; ``next_cursor`` is null on the last page."""

    model_config = ConfigDict(
        from_attributes=True, json_schema_extra={"example": {"items": [_PRODUCT], "next_cursor": "AQAAAAAAAAAq"}}
    )

    items: list[ProductOut]
    next_cursor: str | None


class ProductQuery(BaseModel):
    """Which page."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=DEFAULT_LIMIT, ge=1, le=MAX_LIMIT)
    cursor: str | None = Field(default=None, max_length=100, description="`next_cursor` of the page before")


def build_router(products: ProductRepository) -> APIRouter:
    """Routes under ``/v1/products``."""
    router = APIRouter(prefix="/v1/products", tags=["catalogue"])

    @router.get("", response_model=ProductPage, responses=problem_responses(InvalidCursor))
    async def list_products(page: Annotated[ProductQuery, Query()]) -> Page[Product]:
        """Products by id, page by page."""
        return await workflow.list_products(products, page.limit, page.cursor)

    @router.get("/{product_id}", response_model=ProductOut, responses=problem_responses(ProductNotFound))
    async def get_product(product_id: Annotated[int, Path(ge=1, le=MAX_ID)]) -> Product:
        """One product."""
        return await workflow.get_product(products, product_id)

    return router
