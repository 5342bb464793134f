"""Nobody pays for an order that does not exist, whatever dies and whoever is late."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.deadline import HEADER
from service.outbound import LEAST_CALLS, OPEN
from tests.acceptance.backends import eventually
from tests.acceptance.service.conftest import Addresses, Process, Sql, run_api, run_service
from tests.conftest import Stack

CHARGES = """
    SELECT status, refunded_at IS NOT NULL AS timed FROM payments.charges WHERE order_id = ANY($1::uuid[])
"""


def an_order(product: int) -> dict[str, Any]:
    return {"user_id": 17, "items": [{"product_id": product, "quantity": 1}]}


@pytest.fixture
def payments(stack: Stack, addresses: Addresses, tmp_path: Path) -> Iterator[Process]:
    with run_service(stack, addresses, tmp_path / "payments.log", "payments", INSTANCE="payments-of-a-test") as process:
        yield process


def paying(payments: Process) -> dict[str, str]:
    """What an api is told that pays there, where nobody is asked for a token."""
    return {"PAYMENTS_URL": str(payments.http.base_url), "CLIENT_SECRET": ""}


def delay_charges(payments: Process, ms: int) -> None:
    answer = payments.http.put("/internal/faults/charge-latency", json={"percent": 100, "ms": ms})
    assert answer.status_code == 200, answer.text


def reserved(sql: Sql, product: int) -> list[Any]:
    rows = sql("SELECT DISTINCT order_id FROM stock_reservations WHERE product_id = $1", product)
    return [row["order_id"] for row in rows]


def test_an_api_killed_between_charge_and_order_has_the_charge_refunded_and_the_stock_back(
    stack: Stack, addresses: Addresses, sql: Sql, payments: Process, tmp_path: Path
) -> None:
    """The api dies while payments works on its charge, which is captured afterwards; then nobody knows of it."""
    [(stock,)] = sql("SELECT stock FROM products WHERE id = 520")
    delay_charges(payments, 1000)
    with run_api(stack, addresses, tmp_path / "api.log", **paying(payments)) as api:

        def order() -> None:
            with pytest.raises(httpx.TransportError):
                api.http.post("/v1/orders", json=an_order(520))

        hands = [threading.Thread(target=order) for _ in range(3)]
        for hand in hands:
            hand.start()
        eventually(lambda: len(reserved(sql, 520)) == 3, "three orders waiting for payments", every_s=0.02)
        orders = reserved(sql, 520)
        api.kill()
        for hand in hands:
            hand.join()
    eventually(
        lambda: [row["status"] for row in sql(CHARGES, orders)] == ["captured"] * 3, "three charges without an order"
    )
    sql("UPDATE stock_reservations SET created_at = now() - interval '1 hour' WHERE product_id = 520")
    eventually(
        lambda: [tuple(row) for row in sql(CHARGES, orders)] == [("refunded", True)] * 3, "three refunds", within_s=20
    )
    assert sql("SELECT count(*) FROM orders WHERE id = ANY($1::uuid[])", orders)[0][0] == 0
    assert sql("SELECT stock FROM products WHERE id = 520")[0][0] == stock


def test_a_caller_in_a_hurry_is_answered_in_time_and_a_charge_that_comes_late_is_undone(
    stack: Stack, addresses: Addresses, sql: Sql, payments: Process, tmp_path: Path
) -> None:
    """Half a second is kept for putting things right, so payments gets 300 of the 800 ms, and is told so."""
    delay_charges(payments, 1500)
    with run_api(stack, addresses, tmp_path / "api.log", **paying(payments)) as api:
        answer = api.http.post("/v1/orders", json=an_order(521), headers={HEADER: "800"})
    assert (answer.status_code, answer.json()["type"]) == (504, "urn:signalbox:problem:deadline-exceeded")
    assert answer.elapsed.total_seconds() < 1.2
    eventually(lambda: payments.counter('deadline_exceeded_total{what="request"}') == 1, "payments giving up as well")
    assert reserved(sql, 521) == []
    latest = """
        SELECT c.status FROM pgqueuer_log l JOIN pgqueuer_log done ON done.job_id = l.job_id, payments.charges c
        WHERE l.entrypoint = 'orders.cancel-charge' AND done.status = 'successful' AND c.status = 'voided'
        ORDER BY l.id DESC LIMIT 1
    """
    eventually(lambda: sql(latest), "the order's being given up at payments", within_s=20)


def test_a_circuit_opens_on_payments_that_fails_and_closes_when_it_is_back(
    stack: Stack, addresses: Addresses, payments: Process, tmp_path: Path
) -> None:
    payments.http.put("/internal/faults/charge-errors", json={"percent": 100, "status": 500})
    with run_api(stack, addresses, tmp_path / "api.log", **paying(payments)) as api:

        def order() -> int:
            return api.http.post("/v1/orders", json=an_order(522)).status_code

        assert {order() for _ in range(LEAST_CALLS + 10)} == {503}
        assert api.counter('circuit_state{peer="payments"}') == OPEN
        refused = api.counter('circuit_refused_total{peer="payments"}')
        assert refused >= 5
        asked = 'http_server_request_duration_seconds_count{http_request_method="POST",http_route="/v1/charges",'
        assert payments.counter(asked + 'http_response_status_code="500",outcome="bad"}') <= LEAST_CALLS + 5
        payments.http.delete("/internal/faults")
        eventually(lambda: order() == 201, "orders again", within_s=10)
        assert api.counter('circuit_state{peer="payments"}') == 0
