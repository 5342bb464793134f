"""What can be done with the catalogue: look at one product, or at all of them page by page.

Knows nothing of storage or HTTP.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from service.catalog.model import Product, ProductNotFound
from service.edge.pagination import Cursors, Page


class ProductRepository(Protocol):
    """Where products are kept."""

    async def find(self, product_id: int) -> Product | None:
        """The product, or None. May be some seconds old."""
        ...

    async def list_after(self, after: int, limit: int) -> Sequence[Product]:
        """The first ``limit`` products with an id above ``after``, by id."""
        ...


async def get_product(products: ProductRepository, product_id: int) -> Product:
    """The product with this id. Raises ``ProductNotFound``."""
    product = await products.find(product_id)
    if product is None:
        raise ProductNotFound(f"there is no product {product_id}")
    return product


async def list_products(products: ProductRepository, cursors: Cursors, limit: int, cursor: str | None) -> Page[Product]:
    """``limit`` products from where ``cursor`` left off. Raises ``InvalidCursor``."""
    after = cursors.decode(cursor) if cursor is not None else 0
    rows = await products.list_after(after, limit + 1)
    return cursors.page(rows, limit, lambda product: product.id)
