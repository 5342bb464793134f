"""A product, and what can go wrong in finding one. Knows nothing of storage or HTTP."""

from __future__ import annotations

from dataclasses import dataclass

from service.errors import NotFound

CURRENCY = "EUR"  # the one currency of the catalogue and of every order


@dataclass(frozen=True, slots=True)
class Money:
    """An amount in hundredths of a currency (ISO 4217)."""

    cents: int
    currency: str = CURRENCY


@dataclass(frozen=True, slots=True)
class Product:
    """Something that can be ordered. ``stock``: pieces left, as of when it was read."""

    id: int
    name: str
    price_cents: int
    stock: int

    @property
    def price(self) -> Money:
        """What one piece costs."""
        return Money(self.price_cents)


class ProductNotFound(NotFound):
    """No product has this id."""

    kind = "product-not-found"
