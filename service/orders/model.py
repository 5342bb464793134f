"""An order, and what can go wrong with one. Knows nothing of storage, HTTP or payments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from service.catalog.model import Money
from service.errors import Conflict, Forbidden, NotFound, Refused, Unavailable, Unprocessable


class OrderStatus(StrEnum):
    """How far an order has come."""

    PLACED = "placed"
    FULFILLED = "fulfilled"


@dataclass(frozen=True, slots=True)
class Line:
    """A wish: so many of a product."""

    product_id: int
    quantity: int


@dataclass(frozen=True, slots=True)
class Item:
    """A line at the price that it was ordered for."""

    product_id: int
    quantity: int
    unit_price_cents: int

    @property
    def unit_price(self) -> Money:
        """What one piece cost."""
        return Money(self.unit_price_cents)


@dataclass(frozen=True, slots=True)
class Order:
    """An order that has been paid for. Times are UTC."""

    id: UUID
    user_id: int
    status: OrderStatus
    items: Sequence[Item]
    total_cents: int
    currency: str
    created_at: datetime
    fulfilled_at: datetime | None = None

    @property
    def total(self) -> Money:
        """What all of it cost."""
        return Money(self.total_cents, self.currency)


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """What a client calls one request by; repeating it does nothing more. ``fingerprint``: of what was asked."""

    client: str
    value: str
    fingerprint: bytes


class KeyResult(StrEnum):
    """What the idempotency key of a request turned out to be."""

    NEW = "new"
    REPLAYED = "replayed"  # its order is there
    TAKEN_OVER = "taken_over"  # from an attempt that was refused, or died
    IN_USE = "in_use"
    REUSED = "reused"  # by another request


@dataclass(frozen=True, slots=True)
class Claim:
    """One attempt's hold on a key: the id of its order, and of the attempt's before it that came to nothing.

    ``placed``: the order is there already.
    """

    order_id: UUID
    previous: UUID | None = None
    placed: bool = False

    @property
    def result(self) -> KeyResult:
        """What the key was."""
        if self.placed:
            return KeyResult.REPLAYED
        return KeyResult.NEW if self.previous is None else KeyResult.TAKEN_OVER


def total_cents(items: Sequence[Item]) -> int:
    """What ``items`` cost together."""
    return sum(item.quantity * item.unit_price_cents for item in items)


class OrderNotFound(NotFound):
    """No order has this id."""

    kind = "order-not-found"


class UnknownUser(Unprocessable):
    """The order names a user who does not exist."""

    kind = "unknown-user"


class UnknownProduct(Unprocessable):
    """The order names a product that does not exist."""

    kind = "unknown-product"


class OutOfStock(Conflict):
    """There is less of a product than was ordered."""

    kind = "out-of-stock"


class PaymentRefused(Refused):
    """The payment for the order was refused. Nothing was ordered."""

    kind = "payment-refused"


class PaymentUnavailable(Unavailable):
    """Payments did not answer, not in time, or not sensibly. Nothing was ordered."""

    kind = "payment-unavailable"


class ReservationExpired(Unavailable):
    """The payment took so long that the stock was given back meanwhile. Nothing was ordered."""

    kind = "reservation-expired"


class KeyInUse(Conflict):
    """Another request with the same idempotency key is under way."""

    kind = "idempotency-key-in-use"
    result = KeyResult.IN_USE
    headers: Mapping[str, str] = {"Retry-After": "1"}


class KeyReused(Unprocessable):
    """The idempotency key came with another request before."""

    kind = "idempotency-key-reused"
    result = KeyResult.REUSED


class NotYours(Forbidden):
    """The caller orders for somebody for whom he may not."""

    kind = "not-yours"
