"""The three steps of an order: stock first, then money, then the order; and the way back when a step fails."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from service.deadline import DeadlineExceeded
from service.errors import ServiceError
from service.orders.model import (
    Claim,
    IdempotencyKey,
    Item,
    KeyInUse,
    KeyResult,
    KeyReused,
    Line,
    Order,
    OrderNotFound,
    OrderStatus,
    OutOfStock,
    PaymentRefused,
    PaymentUnavailable,
    ReservationExpired,
    UnknownProduct,
)
from service.orders.workflow import fulfil_order, get_order, place_order, place_order_once
from service.telemetry.testing import Recorded

pytestmark = pytest.mark.anyio


class MemoryOrders:
    """Orders, reservations and stock in dictionaries."""

    def __init__(self, stock: dict[int, int], price_cents: int = 250) -> None:
        self.stock = stock
        self.price_cents = price_cents
        self.reservations: dict[UUID, Sequence[Item]] = {}
        self.orders: dict[UUID, Order] = {}
        self.jobs: list[UUID] = []
        self.to_cancel: list[UUID] = []

    async def reserve(self, order_id: UUID, user_id: int, lines: Sequence[Line]) -> Sequence[Item]:
        for line in lines:
            if line.product_id not in self.stock:
                raise UnknownProduct(str(line.product_id))
            if self.stock[line.product_id] < line.quantity:
                raise OutOfStock(str(line.product_id))
        for line in lines:
            self.stock[line.product_id] -= line.quantity
        self.reservations[order_id] = [Item(line.product_id, line.quantity, self.price_cents) for line in lines]
        return self.reservations[order_id]

    async def release(self, order_id: UUID, *, charged: bool) -> None:
        items = self.reservations.pop(order_id, ())
        for item in items:
            self.stock[item.product_id] += item.quantity
        if items and charged:
            self.to_cancel.append(order_id)

    async def release_expired(self, older_than_s: float) -> int:
        raise NotImplementedError

    async def place(
        self, order_id: UUID, user_id: int, items: Sequence[Item], currency: str, claim: Claim | None
    ) -> Order:
        if self.reservations.pop(order_id, None) is None:
            raise ReservationExpired
        total = sum(item.quantity * item.unit_price_cents for item in items)
        order = Order(order_id, user_id, OrderStatus.PLACED, items, total, currency, datetime.now(UTC))
        self.orders[order_id] = order
        self.jobs.append(order_id)
        return order

    async def find(self, order_id: UUID) -> Order | None:
        return self.orders.get(order_id)

    async def fulfil(self, order_id: UUID) -> float | None:
        if order_id not in self.jobs:
            return None
        self.jobs.remove(order_id)
        return 2.0


class MemoryPayments:
    """Takes the money, or says why not."""

    def __init__(self, answer: Exception | None = None) -> None:
        self.answer = answer
        self.charged: dict[UUID, int] = {}

    async def charge(self, order_id: UUID, amount_cents: int, currency: str) -> None:
        if self.answer is not None:
            raise self.answer
        self.charged[order_id] = amount_cents

    async def cancel(self, order_id: UUID) -> None:
        raise NotImplementedError


LINES = [Line(1, 2), Line(2, 1)]


async def test_an_order_takes_stock_is_charged_once_and_leaves_a_job(recorded: Recorded) -> None:
    orders, payments = MemoryOrders({1: 5, 2: 5}), MemoryPayments()
    order = await place_order(orders, payments, 7, LINES)
    assert payments.charged == {order.id: 750}
    assert orders.stock == {1: 3, 2: 4}
    assert orders.jobs == [order.id]
    assert not orders.reservations
    assert await get_order(orders, order.id) == order
    assert "orders_placed_total 1.0" in recorded.metrics_text()


@pytest.mark.parametrize("lines", [[Line(1, 6)], [Line(2, 1), Line(3, 1)]])
async def test_nobody_is_charged_for_what_cannot_be_had(lines: list[Line]) -> None:
    orders, payments = MemoryOrders({1: 5, 2: 5}), MemoryPayments()
    with pytest.raises(ServiceError):
        await place_order(orders, payments, 7, lines)
    assert not payments.charged
    assert orders.stock == {1: 5, 2: 5}


@pytest.mark.parametrize(
    ("answer", "perhaps_charged"),
    [(PaymentRefused("no"), False), (PaymentUnavailable("gone"), True), (DeadlineExceeded("late"), True)],
)
async def test_stock_comes_back_when_the_money_does_not_come_and_a_charge_that_may_be_is_undone(
    recorded: Recorded, answer: ServiceError, perhaps_charged: bool
) -> None:
    orders = MemoryOrders({1: 5, 2: 5})
    with pytest.raises(type(answer)):
        await place_order(orders, MemoryPayments(answer), 7, LINES)
    assert orders.stock == {1: 5, 2: 5}
    assert not orders.orders
    assert not orders.jobs
    assert len(orders.to_cancel) == perhaps_charged
    assert "orders_placed_total 0.0" in recorded.metrics_text()


async def test_a_reservation_that_is_gone_makes_no_order() -> None:
    class Slow(MemoryPayments):
        async def charge(self, order_id: UUID, amount_cents: int, currency: str) -> None:
            await orders.release(order_id, charged=True)

    orders = MemoryOrders({1: 5, 2: 5})
    with pytest.raises(ReservationExpired):
        await place_order(orders, Slow(), 7, LINES)
    assert not orders.orders
    assert orders.stock == {1: 5, 2: 5}


class MemoryKeys:
    """Keys in a dictionary. ``abandoned``: what the next attempt may take over."""

    def __init__(self) -> None:
        self.held: dict[str, tuple[bytes, Claim]] = {}
        self.abandoned: set[UUID] = set()

    async def claim(self, key: IdempotencyKey) -> Claim:
        if key.value not in self.held:
            self.held[key.value] = key.fingerprint, Claim(uuid4())
            return self.held[key.value][1]
        fingerprint, claim = self.held[key.value]
        if fingerprint != key.fingerprint:
            raise KeyReused("this idempotency key came with another request before")
        if claim.order_id in self.abandoned:
            self.held[key.value] = fingerprint, Claim(uuid4(), previous=claim.order_id)
        elif not claim.placed:
            raise KeyInUse("a request with this idempotency key is under way")
        return self.held[key.value][1]

    async def abandon(self, claim: Claim) -> None:
        self.abandoned.add(claim.order_id)

    def settle(self, value: str) -> None:
        fingerprint, claim = self.held[value]
        self.held[value] = fingerprint, Claim(claim.order_id, placed=True)


async def test_what_an_idempotency_key_was_is_counted_and_all_but_a_new_one_are_in_the_span(recorded: Recorded) -> None:
    orders, keys = MemoryOrders({1: 50, 2: 50}), MemoryKeys()

    async def ask(result: KeyResult, value: str, payments: MemoryPayments, body: bytes = b"one") -> None:
        recorded.clear()
        with recorded.telemetry.span("POST /orders"), suppress(ServiceError):
            await place_order_once(orders, payments, keys, IdempotencyKey("client", value, body), 7, LINES)
        told = recorded.attributes(recorded.span("POST /orders")).get("idempotency_key.result")
        assert told == (None if result is KeyResult.NEW else result)

    await ask(KeyResult.NEW, "a", MemoryPayments())
    await ask(KeyResult.IN_USE, "a", MemoryPayments())
    keys.settle("a")
    await ask(KeyResult.REPLAYED, "a", MemoryPayments())
    await ask(KeyResult.REUSED, "a", MemoryPayments(), b"another")
    await ask(KeyResult.NEW, "b", MemoryPayments(PaymentUnavailable("gone")))
    await ask(KeyResult.TAKEN_OVER, "b", MemoryPayments())
    counted = {
        result: recorded.telemetry.instruments.registry.get_sample_value("idempotency_keys_total", {"result": result})
        for result in KeyResult
    }
    assert counted == dict.fromkeys(KeyResult, 1.0) | {KeyResult.NEW: 2.0}


async def test_fulfilling_twice_counts_once(recorded: Recorded) -> None:
    orders = MemoryOrders({1: 5, 2: 5})
    order = await place_order(orders, MemoryPayments(), 7, LINES)
    await fulfil_order(orders, order.id)
    await fulfil_order(orders, order.id)
    assert "fulfilment_delay_seconds_count 1.0" in recorded.metrics_text()
    assert 'fulfilment_delay_seconds_bucket{le="2.5"} 1.0' in recorded.metrics_text()


async def test_an_order_that_is_not_there_is_not_found() -> None:
    with pytest.raises(OrderNotFound):
        await get_order(MemoryOrders({}), uuid4())
