"""Placing, reading and fulfilling orders. Knows nothing of storage or HTTP.

Placing takes three steps, none of which holds a transaction or a lock while it waits for another service:

1. reserve: one transaction takes the stock and notes for which order. Nobody is charged for what is sold out.
2. charge: payments is asked, with the order's id as the key, so that asking twice charges once.
3. place: one transaction turns the reservation into the order, its items and the job that fulfils it.

One transaction around all three would be simpler and was not taken: while payments is slow it would keep rows of
popular products locked and every connection of the pool busy, and a slow neighbour would become an outage of the
whole api.

A process that dies between the steps, or gives up waiting for payments, leaves a reservation and perhaps a charge. A
reservation becomes either an order or, in the transaction that gives its stock back, a job that cancels the charge:
never both, never neither. That transaction is ours when payments does not answer, and the worker's for reservations
that are ``RESERVATION_TTL_S`` old. A charge that arrives even later finds its order cancelled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol
from uuid import UUID, uuid4

from service import telemetry
from service.catalog.model import CURRENCY
from service.edge.caller import Caller
from service.errors import ServiceError
from service.orders.model import (
    Claim,
    IdempotencyKey,
    Item,
    KeyInUse,
    KeyResult,
    KeyReused,
    Line,
    NotYours,
    Order,
    OrderNotFound,
    OrderStatus,
    PaymentRefused,
    total_cents,
)

# Well above the longest that payments is waited for, so that only orders nobody is working on are given up.
RESERVATION_TTL_S = 60.0


class OrderRepository(Protocol):
    """Where orders and reservations are kept. Each method is one transaction, but for ``release_expired``."""

    async def reserve(self, order_id: UUID, user_id: int, lines: Sequence[Line]) -> Sequence[Item]:
        """Take the stock for an order to be; its items at today's prices.

        Raises ``UnknownUser``, ``UnknownProduct`` or ``OutOfStock``, and has changed nothing then.
        """
        ...

    async def release(self, order_id: UUID, *, charged: bool) -> None:
        """Give the stock reserved for an order back; and see a charge undone where there may be one."""
        ...

    async def release_expired(self, older_than_s: float) -> int:
        """Release every reservation older than this, as perhaps charged, some at a time; how many there were."""
        ...

    async def place(
        self, order_id: UUID, user_id: int, items: Sequence[Item], currency: str, claim: Claim | None = None
    ) -> Order:
        """Turn a reservation into an order and the job that fulfils it, and settle the claim with it.

        Raises ``ReservationExpired`` or ``KeyInUse``, and has changed nothing then.
        """
        ...

    async def find(self, order_id: UUID) -> Order | None:
        """The order, or None."""
        ...

    async def fulfil(self, order_id: UUID) -> float | None:
        """Mark the order as fulfilled: seconds since it was placed, or None when it was fulfilled before."""
        ...


class OrderKeys(Protocol):
    """Where idempotency keys are kept."""

    async def claim(self, key: IdempotencyKey) -> Claim:
        """Take ``key`` for one attempt, or find that its order is placed. Raises ``KeyReused``, ``KeyInUse``."""
        ...

    async def abandon(self, claim: Claim) -> None:
        """Let the next attempt have the claim at once."""
        ...


class Payments(Protocol):
    """Who takes the money."""

    async def charge(self, order_id: UUID, amount_cents: int, currency: str) -> None:
        """Charge for an order, once however often it is asked. Raises ``PaymentRefused``, ``PaymentUnavailable``."""
        ...

    async def cancel(self, order_id: UUID) -> None:
        """Refund what was charged for an order, and have nothing charged any more. Raises ``PaymentUnavailable``."""
        ...


def check_buyer(caller: Caller, user_id: int) -> None:
    """Raise ``NotYours`` unless the caller may order for this user."""
    if not caller.may_act_for(user_id):
        raise NotYours("the order is for another user than the one who is signed in")


async def place_order_once(
    orders: OrderRepository,
    payments: Payments,
    keys: OrderKeys,
    key: IdempotencyKey,
    user_id: int,
    lines: Sequence[Line],
) -> tuple[Order, bool]:
    """As ``place_order``, but once a key: the order as it was placed, and whether that was by an earlier request.

    Only an order settles a key. What was refused may be asked again with the same key. Raises ``KeyReused``,
    ``KeyInUse``, and what the steps raise.
    """
    claim = await _claim(keys, key)
    if claim.placed:
        placed = await get_order(orders, claim.order_id)
        return replace(placed, status=OrderStatus.PLACED, fulfilled_at=None), True
    if claim.previous is not None:  # whoever tried before may have died with the stock in hand, or the money
        await orders.release(claim.previous, charged=True)
    try:
        return await place_order(orders, payments, user_id, lines, claim), False
    except ServiceError:
        await keys.abandon(claim)
        raise


async def _claim(keys: OrderKeys, key: IdempotencyKey) -> Claim:
    """``keys.claim``, and what came of it is told."""
    try:
        claim = await keys.claim(key)
    except (KeyInUse, KeyReused) as error:
        _tell(error.result)
        raise
    _tell(claim.result)
    return claim


def _tell(result: KeyResult) -> None:
    telemetry.metrics.idempotency_keys.labels(result).inc()
    if result is not KeyResult.NEW:
        telemetry.note("idempotency_key.result", result)


async def place_order(
    orders: OrderRepository, payments: Payments, user_id: int, lines: Sequence[Line], claim: Claim | None = None
) -> Order:
    """Order ``lines`` for a user and pay for them. Raises what the three steps raise; nothing is ordered then."""
    order_id = claim.order_id if claim else uuid4()
    with telemetry.span("orders.reserve_stock", attributes={"order.id": str(order_id), "order.lines": len(lines)}):
        items = await orders.reserve(order_id, user_id, lines)
    try:
        with telemetry.span("orders.charge"):
            await payments.charge(order_id, total_cents(items), CURRENCY)
    except ServiceError as error:
        await orders.release(order_id, charged=not isinstance(error, PaymentRefused))
        raise
    with telemetry.span("orders.place"):
        order = await orders.place(order_id, user_id, items, CURRENCY, claim)
    telemetry.metrics.orders_placed.inc()
    return order


async def get_order(orders: OrderRepository, order_id: UUID, caller: Caller | None = None) -> Order:
    """The order with this id; ``caller`` None: on the service's own behalf.

    Raises ``OrderNotFound``, also when the order is another's: whether it exists is not the caller's business.
    """
    order = await orders.find(order_id)
    if order is None or not (caller is None or caller.may_act_for(order.user_id)):
        raise OrderNotFound(f"there is no order {order_id}")
    return order


async def fulfil_order(orders: OrderRepository, order_id: UUID) -> None:
    """Fulfil an order. Doing it again changes nothing, so the job may be done more than once."""
    delay_s = await orders.fulfil(order_id)
    if delay_s is not None:
        telemetry.metrics.fulfilment_delay.observe(delay_s)
