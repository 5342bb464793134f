"""A product, and what can go wrong in finding one. Knows nothing of storage or HTTP."""

from __future__ import annotations

from dataclasses import dataclass

from service.errors import NotFound

CURRENCY = "EUR"  # the one currency of the catalogue and of every order


@dataclass(frozen=True, slots=True)
class Product:
    """Something that can be ordered. ``stock``: pieces left, as of when it was read."""

    id: int
    name: str
    price_cents: int
    stock: int


class ProductNotFound(NotFound):
    """No product has this id."""

    kind = "product-not-found"
