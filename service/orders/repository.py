"""Orders and stock reservations in PostgreSQL. Owns their statements and the order in which rows are locked.

Whoever locks several products locks them by ascending id, so no two transactions can wait for each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, Float, Integer, Row, Text, Uuid, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection

from service.data.engines import Databases
from service.data.queue import enqueue
from service.faults import scope_headers
from service.orders.keys import settle
from service.orders.model import (
    Claim,
    Item,
    Line,
    Order,
    OrderStatus,
    OutOfStock,
    ReservationExpired,
    UnknownProduct,
    UnknownUser,
    total_cents,
)

FULFIL_QUEUE = "orders.fulfil"
CANCEL_QUEUE = "orders.cancel-charge"
# Customers wait for the one, and for their money back; whatever is scheduled has 0.
FULFIL_PRIORITY, CANCEL_PRIORITY = 20, 10
# Later than this an order is not fulfilled by itself any more: a person has to look (docs/jobs.md).
FULFIL_WITHIN_S = 24 * 3600.0

_order_id = bindparam("order_id", type_=Uuid)
_order_ids = bindparam("order_ids", type_=ARRAY(Uuid))
_user_id = bindparam("user_id", type_=BigInteger)
_product_ids = bindparam("product_ids", type_=ARRAY(BigInteger))
_quantities = bindparam("quantities", type_=ARRAY(Integer))
_prices = bindparam("prices", type_=ARRAY(BigInteger))
_total_cents = bindparam("total_cents", type_=BigInteger)
_currency = bindparam("currency", type_=Text)

# Locked in this order: two orders for the same products queue up instead of waiting for each other.
_LOCK_PRODUCTS = text(
    """
    SELECT id, price_cents, stock, EXISTS (SELECT FROM users WHERE id = :user_id) AS user_exists
    FROM products WHERE id = ANY(:product_ids) ORDER BY id FOR NO KEY UPDATE
    """
).bindparams(_user_id, _product_ids)

_RESERVE = text(
    """
    WITH wanted AS (
        SELECT * FROM unnest(:product_ids, :quantities) AS w (product_id, quantity)
    ), taken AS (
        UPDATE products SET stock = stock - quantity FROM wanted WHERE id = product_id
    )
    INSERT INTO stock_reservations (order_id, product_id, quantity)
    SELECT :order_id, product_id, quantity FROM wanted
    """
).bindparams(_order_id, _product_ids, _quantities)

# Nothing is inserted unless the whole reservation is still there to be taken.
_PLACE = text(
    """
    WITH taken AS (
        DELETE FROM stock_reservations WHERE order_id = :order_id RETURNING product_id
    ), placed AS (
        INSERT INTO orders (id, user_id, status, total_cents, currency, created_at)
        SELECT :order_id, :user_id, 'placed', :total_cents, :currency, clock_timestamp()
        WHERE (SELECT count(*) FROM taken) = cardinality(:product_ids)
        RETURNING id, created_at
    ), ordered AS (
        INSERT INTO order_items (order_id, product_id, quantity, unit_price_cents)
        SELECT placed.id, item.* FROM placed, unnest(:product_ids, :quantities, :prices) AS item
    )
    SELECT created_at FROM placed
    """
).bindparams(_order_id, _user_id, _total_cents, _currency, _product_ids, _quantities, _prices)

# Locked in the same order, and by a statement before the one that changes them. A statement that did both was seen to
# deadlock: a row that had changed while it waited was looked up again, behind others who waited for what it had locked.
_LOCK_RESERVED = text(
    """
    SELECT id FROM products
    WHERE id IN (SELECT product_id FROM stock_reservations WHERE order_id = ANY(:order_ids))
    ORDER BY id FOR NO KEY UPDATE
    """
).bindparams(_order_ids)
# Several reservations may hold the same product, so quantities are added up before they are given back.
_GIVE_BACK = text(
    """
    WITH released AS (
        DELETE FROM stock_reservations WHERE order_id = ANY(:order_ids) RETURNING order_id, product_id, quantity
    ), total AS (
        SELECT product_id, sum(quantity) AS quantity FROM released GROUP BY product_id
    ), given_back AS (
        UPDATE products SET stock = stock + total.quantity FROM total WHERE id = product_id
    )
    SELECT DISTINCT order_id FROM released
    """
).bindparams(_order_ids)

_EXPIRED = text(
    """
    SELECT DISTINCT order_id FROM stock_reservations
    WHERE created_at < now() - make_interval(secs => :older_than_s) LIMIT :most
    """
).bindparams(bindparam("older_than_s", type_=Float), bindparam("most", type_=Integer))
# Reservations given up in one transaction, so that after an outage of payments none grows with what has piled up.
MOST_RELEASED = 200

_FIND = text(
    """
    SELECT o.id, o.user_id, o.status, o.total_cents, o.currency, o.created_at, o.fulfilled_at,
           i.product_id, i.quantity, i.unit_price_cents
    FROM orders o JOIN order_items i ON i.order_id = o.id
    WHERE o.id = :order_id ORDER BY i.product_id
    """
).bindparams(_order_id)

_FULFIL = text(
    """
    UPDATE orders SET status = 'fulfilled', fulfilled_at = clock_timestamp()
    WHERE id = :order_id AND status = 'placed'
    RETURNING extract(epoch FROM fulfilled_at - created_at)
    """
).bindparams(_order_id)


class SqlOrderRepository:
    """Keeps orders on the primary; reads them from the replica where they have arrived there."""

    def __init__(self, databases: Databases) -> None:
        self._databases = databases

    async def reserve(self, order_id: UUID, user_id: int, lines: Sequence[Line]) -> Sequence[Item]:
        """Take the stock for an order to be; its items at today's prices.

        Raises ``UnknownUser``, ``UnknownProduct`` or ``OutOfStock``, and has changed nothing then.
        """
        wanted = {"user_id": user_id, "product_ids": [line.product_id for line in lines]}
        async with self._databases.transaction() as connection:
            items = _priced((await connection.execute(_LOCK_PRODUCTS, wanted)).all(), user_id, lines)
            await connection.execute(_RESERVE, {"order_id": order_id, **_columns(items)})
        return items

    async def release(self, order_id: UUID, *, charged: bool) -> None:
        """Give the stock reserved for an order back; and see a charge undone where there may be one."""
        async with self._databases.transaction() as connection:
            await _release(connection, [order_id], charged=charged)

    async def release_expired(self, older_than_s: float) -> int:
        """Release every reservation older than this, as perhaps charged; how many there were.

        ``MOST_RELEASED`` at a time, each lot in a transaction of its own.
        """
        expired, released = {"older_than_s": older_than_s, "most": MOST_RELEASED}, 0
        while True:
            async with self._databases.transaction() as connection:
                order_ids = (await connection.execute(_EXPIRED, expired)).scalars().all()
                if order_ids:  # mostly there are none
                    released += await _release(connection, order_ids, charged=True)
            if len(order_ids) < MOST_RELEASED:
                return released

    async def place(
        self, order_id: UUID, user_id: int, items: Sequence[Item], currency: str, claim: Claim | None = None
    ) -> Order:
        """Turn a reservation into an order and the job that fulfils it, and settle the claim with it.

        Raises ``ReservationExpired`` or ``KeyInUse``, and has changed nothing then.
        """
        total = total_cents(items)
        order = {"order_id": order_id, "user_id": user_id, "total_cents": total, "currency": currency}
        async with self._databases.transaction() as connection:
            created_at = (await connection.execute(_PLACE, {**order, **_columns(items)})).scalar_one_or_none()
            if created_at is None:
                raise ReservationExpired("the payment took too long")
            if claim is not None:
                await settle(connection, claim)
            await enqueue(
                connection,
                FULFIL_QUEUE,
                str(order_id),
                scope_headers(),
                priority=FULFIL_PRIORITY,
                within_s=FULFIL_WITHIN_S,
            )
        return Order(order_id, user_id, OrderStatus.PLACED, items, total, currency, created_at)

    async def find(self, order_id: UUID) -> Order | None:
        """The order, or None. One that the replica has not heard of yet is asked of the primary."""
        statement = _FIND.bindparams(order_id=order_id)
        rows = await self._databases.read(statement) or await self._databases.read_primary(statement)
        return _order(rows) if rows else None

    async def fulfil(self, order_id: UUID) -> float | None:
        """Mark the order as fulfilled: seconds since it was placed, or None when it was fulfilled before."""
        async with self._databases.transaction() as connection:
            delay_s = (await connection.execute(_FULFIL, {"order_id": order_id})).scalar_one_or_none()
        return None if delay_s is None else float(delay_s)


async def _release(connection: AsyncConnection, order_ids: Sequence[UUID], *, charged: bool) -> int:
    await connection.execute(_LOCK_RESERVED, {"order_ids": order_ids})
    released = (await connection.execute(_GIVE_BACK, {"order_ids": order_ids})).scalars().all()
    if charged:
        for order_id in released:
            await enqueue(connection, CANCEL_QUEUE, str(order_id), scope_headers(), priority=CANCEL_PRIORITY)
    return len(released)


def _priced(products: Sequence[Row[Any]], user_id: int, lines: Sequence[Line]) -> list[Item]:
    if products and not products[0].user_exists:
        raise UnknownUser(f"there is no user {user_id}")
    by_id = {product.id: product for product in products}
    items = []
    for line in lines:
        product = by_id.get(line.product_id)
        if product is None:
            raise UnknownProduct(f"there is no product {line.product_id}")
        if product.stock < line.quantity:
            raise OutOfStock(f"product {line.product_id} is out of stock")
        items.append(Item(line.product_id, line.quantity, product.price_cents))
    return items


def _columns(items: Sequence[Item]) -> dict[str, list[int]]:
    return {
        "product_ids": [item.product_id for item in items],
        "quantities": [item.quantity for item in items],
        "prices": [item.unit_price_cents for item in items],
    }


def _order(rows: Sequence[Row[Any]]) -> Order:
    first = rows[0]
    return Order(
        id=first.id,
        user_id=first.user_id,
        status=OrderStatus(first.status),
        items=[Item(row.product_id, row.quantity, row.unit_price_cents) for row in rows],
        total_cents=first.total_cents,
        currency=first.currency,
        created_at=first.created_at,
        fulfilled_at=first.fulfilled_at,
    )
