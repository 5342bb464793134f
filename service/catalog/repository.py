"""Products in PostgreSQL, with copies in the cache. Owns their statements and how long a copy lives.

Single products are read often and change rarely, so they are cached; a page is one range of the primary key and cheap
as it is. Stock in a copy may be ``PRODUCT_TTL_S`` old: it is for display, an order counts on the primary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import BigInteger, Row, Text, column, select, table

from service.catalog.model import Product
from service.data.cache import Cache
from service.data.engines import Databases
from service.faults import N_PLUS_ONE, struck

PRODUCT_TTL_S = 30.0
# A product that is not there may come to be; who asks for it before should not have to wait long for it.
ABSENT_TTL_S = 5.0

_products = table(
    "products",
    column("id", BigInteger),
    column("name", Text),
    column("price_cents", BigInteger),
    column("stock", BigInteger),
)
_columns = (_products.c.id, _products.c.name, _products.c.price_cents, _products.c.stock)


class SqlProductRepository:
    """Reads products from the cache and the replica."""

    def __init__(self, databases: Databases, cache: Cache[Product]) -> None:
        self._databases = databases
        self._cache = cache

    async def find(self, product_id: int) -> Product | None:
        """The product, or None. May be ``PRODUCT_TTL_S`` old."""
        return await self._cache.get(product_id, lambda: self._load(product_id))

    async def list_after(self, after: int, limit: int) -> Sequence[Product]:
        """The first ``limit`` products with an id above ``after``, by id."""
        statement = select(*_columns).where(_products.c.id > after).order_by(_products.c.id).limit(limit)
        found = [_product(row) for row in await self._databases.read(statement)]
        if struck(N_PLUS_ONE):
            for product in found:
                await self._load(product.id)
        return found

    async def _load(self, product_id: int) -> Product | None:
        rows = await self._databases.read(select(*_columns).where(_products.c.id == product_id))
        return _product(rows[0]) if rows else None


def _product(row: Row[Any]) -> Product:
    return Product(row.id, row.name, row.price_cents, row.stock)
