"""The catalogue over HTTP. Owns the form of requests and responses, and nothing else."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from service.catalog import workflow
from service.catalog.model import CURRENCY, Product, ProductNotFound
from service.catalog.workflow import ProductRepository
from service.edge.description import UNAVAILABLE
from service.edge.gate import Gate, Unauthenticated
from service.edge.pagination import DEFAULT_LIMIT, MAX_ID, MAX_LIMIT, Cursors, InvalidCursor, Page
from service.edge.versioning import Version
from service.errors import problem_responses

PRODUCT_EXAMPLE: dict[str, Any] = {
    "id": 42,
    "name": "Sturdy Walnut Desk",
    "price": {"cents": 24_900, "currency": CURRENCY},
    "stock": 998_120,
}


class MoneyOut(BaseModel):
    """An amount of money in hundredths of its currency."""

    model_config = ConfigDict(from_attributes=True)

    cents: int
    currency: str


class ProductOut(BaseModel):
    """A product as callers see it."""

    model_config = ConfigDict(from_attributes=True, json_schema_extra={"example": PRODUCT_EXAMPLE})

    id: int
    name: str
    price: MoneyOut
    stock: int


class ProductPage(BaseModel):
    """Some products by id; ``next_cursor`` is null on the last page."""

    model_config = ConfigDict(
        from_attributes=True,
        json_schema_extra={
            "example": {"items": [PRODUCT_EXAMPLE], "next_cursor": "AgAAAAAAAAAqW3P5PBYcZcnG5hXzdXx7gA"}
        },
    )

    items: list[ProductOut]
    next_cursor: str | None


class ProductQuery(BaseModel):
    """Which page."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=DEFAULT_LIMIT, ge=1, le=MAX_LIMIT)
    cursor: str | None = Field(default=None, max_length=100, description="`next_cursor` of the page before")


def build_router(products: ProductRepository, cursors: Cursors, version: Version, gate: Gate) -> APIRouter:
    """Routes under ``/products``. Anybody may read the catalogue."""
    router = APIRouter(
        prefix=f"{version.prefix}/products", tags=["catalogue"], deprecated=version.ends, dependencies=[gate.open()]
    )

    refusals = (Unauthenticated, *UNAVAILABLE)

    @router.get("", response_model=version.form(ProductPage), responses=problem_responses(*refusals, InvalidCursor))
    async def list_products(page: Annotated[ProductQuery, Query()]) -> Page[Product]:
        """Products by id, page by page."""
        return await workflow.list_products(products, cursors, page.limit, page.cursor)

    @router.get(
        "/{product_id}",
        response_model=version.form(ProductOut),
        responses=problem_responses(*refusals, ProductNotFound),
    )
    async def get_product(product_id: Annotated[int, Path(ge=1, le=MAX_ID)]) -> Product:
        """One product."""
        return await workflow.get_product(products, product_id)

    return router
