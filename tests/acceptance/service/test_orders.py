"""What an order must never do, whatever dies: exist without its job, sell what is not there, or be fulfilled twice."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest

from service.data.engines import Databases, build_engine
from service.orders.model import Line, ReservationExpired
from service.orders.repository import SqlOrderRepository
from tests.acceptance.backends import eventually
from tests.acceptance.service.conftest import Addresses, Process, Sql, run_api
from tests.conftest import Stack

ORPHANS = """
    SELECT (SELECT count(*) FROM orders o WHERE status = 'placed' AND NOT EXISTS (
               SELECT FROM pgqueuer WHERE convert_from(payload, 'UTF8') = o.id::text)) AS orders_without_job,
           (SELECT count(*) FROM pgqueuer WHERE entrypoint = 'orders.fulfil' AND NOT EXISTS (
               SELECT FROM orders WHERE id::text = convert_from(payload, 'UTF8'))) AS jobs_without_order
"""


def an_order(product: int = 500, quantity: int = 1) -> dict[str, Any]:
    return {"user_id": 17, "items": [{"product_id": product, "quantity": quantity}]}


def place(client: httpx.Client, count: int, **order: int) -> list[httpx.Response]:
    """``count`` orders at once, four hands."""
    with ThreadPoolExecutor(4) as hands:
        return list(hands.map(lambda _: client.post("/v1/orders", json=an_order(**order)), range(count)))


def read(client: httpx.Client, ids: list[str]) -> dict[str, dict[str, Any]]:
    return {order: client.get(f"/v1/orders/{order}").json() for order in ids}


def test_an_order_can_be_read_at_once_and_is_fulfilled(user: httpx.Client) -> None:
    answer = user.post("/v1/orders", json=an_order(quantity=3))
    assert answer.status_code == 201
    order = answer.json()
    assert order["total_cents"] == 3 * order["items"][0]["unit_price_cents"]
    read_back = user.get(answer.headers["location"])  # the replica may not know it yet; the service must
    assert read_back.status_code == 200
    assert {**read_back.json(), "status": "placed", "fulfilled_at": None} == order
    done = eventually(
        lambda: (seen := user.get(f"/v1/orders/{order['id']}").json())["status"] == "fulfilled" and seen,
        "the order's fulfilment",
    )
    assert done["fulfilled_at"] > done["created_at"]


@pytest.fixture
def slow_worker(stack: Stack) -> Iterator[httpx.Client]:
    """The stack's worker, three seconds slow, so that it has jobs in hand."""
    with httpx.Client(base_url=stack.urls["worker"], timeout=10) as worker:
        answer = worker.put("/internal/faults/job-latency", json={"percent": 100, "ms": 3000})
        assert answer.status_code == 200, answer.text
        yield worker
        eventually(lambda: worker.delete("/internal/faults").status_code == 200, "the worker's return", within_s=60)


def test_a_worker_killed_with_jobs_in_hand_loses_none_and_doubles_none(
    stack: Stack, user: httpx.Client, slow_worker: httpx.Client
) -> None:
    answers = place(user, 40)
    assert {answer.status_code for answer in answers} == {201}
    ids = [answer.json()["id"] for answer in answers]
    victim = stack.component("worker")["pid"]
    before = {order: seen["fulfilled_at"] for order, seen in read(user, ids).items() if seen["status"] == "fulfilled"}
    assert len(before) < len(ids), "every job was done before the worker could be killed"
    os.kill(victim, signal.SIGKILL)

    def all_done() -> dict[str, dict[str, Any]] | None:
        seen = read(user, ids)
        return seen if {order["status"] for order in seen.values()} == {"fulfilled"} else None

    done = eventually(all_done, "40 orders fulfilled after their worker was killed", within_s=60, every_s=1)
    assert {order: done[order]["fulfilled_at"] for order in before} == before
    assert stack.component("worker")["pid"] != victim


def test_an_api_killed_while_it_places_orders_leaves_no_order_without_its_job(
    stack: Stack, addresses: Addresses, sql: Sql, tmp_path: Path
) -> None:
    answered: list[str] = []
    with run_api(stack, addresses, tmp_path / "api.log") as api:
        enough = threading.Event()

        def keep_ordering() -> None:
            while True:
                try:
                    answer = api.http.post("/v1/orders", json=an_order())
                except httpx.TransportError:
                    return
                answered.append(answer.json()["id"])
                if len(answered) >= 12:
                    enough.set()

        with ThreadPoolExecutor(4) as hands:
            working = [hands.submit(keep_ordering) for _ in range(4)]
            assert enough.wait(60)
            api.kill()
            for hand in working:
                hand.result()
    assert [dict(row) for row in sql(ORPHANS)] == [{"orders_without_job": 0, "jobs_without_order": 0}]
    placed = sql("SELECT count(*) FROM orders WHERE id = ANY($1::uuid[])", answered)[0][0]
    assert placed == len(answered) == len(set(answered))


def test_an_order_whose_connection_breaks_before_its_job_is_in_was_never_placed(
    api: Process, addresses: Addresses, sql: Sql
) -> None:
    """The order's rows are written, its job is not: that is where the connection is cut."""

    waiting = """
        SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
        WHERE application_name = 'signalbox/api-of-a-test' AND wait_event_type = 'Lock'
        AND query LIKE '%INSERT INTO pgqueuer%'
    """

    async def cut_between() -> httpx.Response:
        holder, watcher = [await asyncpg.connect(addresses.dsn()) for _ in range(2)]
        async with httpx.AsyncClient(base_url=api.http.base_url, timeout=15) as client:
            async with holder.transaction():
                await holder.execute("LOCK TABLE pgqueuer IN EXCLUSIVE MODE")
                asked = asyncio.create_task(client.post("/v1/orders", json=an_order(product=501)))
                for _ in range(150):  # 3 s: less than the service's own statement time-out
                    if await watcher.fetchval(waiting):
                        break
                    await asyncio.sleep(0.02)
                else:
                    pytest.fail("the order never came to wait for its job to be let in")
            answer = await asked
        await holder.close()
        await watcher.close()
        return answer

    [(before,)] = sql("SELECT count(*) FROM order_items WHERE product_id = 501")
    answer = asyncio.run(cut_between())
    assert answer.status_code == 503, answer.text
    assert answer.json()["type"] == "urn:signalbox:problem:database-unavailable"
    assert sql("SELECT count(*) FROM order_items WHERE product_id = 501")[0][0] == before
    assert [dict(row) for row in sql(ORPHANS)] == [{"orders_without_job": 0, "jobs_without_order": 0}]
    # The reservation is still there: the worker gives it back when it has expired.
    assert sql("SELECT count(*) FROM stock_reservations WHERE product_id = 501")[0][0] >= 1
    assert api.http.post("/v1/orders", json=an_order(product=501)).status_code == 201


def test_what_is_scarce_is_sold_as_often_as_it_is_there_and_nobody_else_is_charged(api: Process, sql: Sql) -> None:
    captured = "SELECT count(*) FROM payments.charges WHERE status = 'captured'"
    sql("UPDATE products SET stock = 5 WHERE id = 9")
    answers = place(api.http, 24, product=9)
    sold = [answer.json() for answer in answers if answer.status_code == 201]
    refused = [answer.json() for answer in answers if answer.status_code != 201]
    assert len(sold) == 5, [answer.text for answer in answers]
    assert {problem["type"] for problem in refused} == {"urn:signalbox:problem:out-of-stock"}
    assert sql("SELECT stock FROM products WHERE id = 9")[0][0] == 0
    charged = sql(f"{captured} AND order_id = ANY($1::uuid[])", [order["id"] for order in sold])
    assert charged[0][0] == 5


def test_stock_that_nobody_came_back_for_is_given_back_once(
    addresses: Addresses, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    [(before,)] = sql("SELECT stock FROM products WHERE id = 777")

    async def scenario() -> None:
        databases = Databases(build_engine(addresses.database, pool_size=4, application_name="test"))
        orders = SqlOrderRepository(databases)
        lost = [uuid4() for _ in range(3)]  # several reservations of one product must all come back
        for order in lost:
            await orders.reserve(order, 17, [Line(777, 2)])
        items = await orders.reserve(late := uuid4(), 17, [Line(777, 1)])
        assert (await asyncio.to_thread(sql, "SELECT stock FROM products WHERE id = 777"))[0][0] == before - 7
        await asyncio.to_thread(
            sql,
            "UPDATE stock_reservations SET created_at = now() - interval '1 hour' WHERE order_id = ANY($1::uuid[])",
            [*lost, late],
        )
        monkeypatch.setattr("service.orders.repository.MOST_RELEASED", 2)  # so that it takes several transactions
        assert sum(await asyncio.gather(*(orders.release_expired(60) for _ in range(4)))) >= len(lost) + 1
        try:
            await orders.place(late, 17, items, "EUR")
        except ReservationExpired:
            pass
        else:
            raise AssertionError("an order was placed although its stock had been given back")
        await databases.dispose()

    asyncio.run(scenario())
    assert sql("SELECT stock FROM products WHERE id = 777")[0][0] == before


def test_orders_for_the_same_products_in_any_order_do_not_block_each_other(api: Process) -> None:
    products = [601, 602, 603, 604]

    def order(turn: int) -> httpx.Response:
        chosen = products if turn % 2 else products[::-1]
        body = {"user_id": 17, "items": [{"product_id": product, "quantity": 1} for product in chosen]}
        return api.http.post("/v1/orders", json=body)

    with ThreadPoolExecutor(8) as hands:
        answers = list(hands.map(order, range(48)))
    assert {answer.status_code for answer in answers} == {201}
