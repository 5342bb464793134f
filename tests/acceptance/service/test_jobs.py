"""No job is lost, none has its effect twice, and none is tried for ever; a person can see which and put it back.

``SIGNALBOX_KILLS`` (4) is how often workers are killed: `make bench-kills` does it fifty times. When it is set, the
figures are kept in ``bench/results/kills.json``.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from bench.keep import keep
from service.data import migrations
from service.data.consumer import Consumer
from service.data.engines import Databases, Timeouts, build_engine
from service.data.queue import enqueue, forget_history
from service.data.queue_connection import close, connect
from service.data.schedule import Scheduler
from service.orders.model import Line
from service.orders.repository import SqlOrderRepository
from tests.acceptance.backends import eventually
from tests.acceptance.service.conftest import Addresses, Sql, environment, free_port, run_service
from tests.acceptance.service.deadly_worker import QUEUE
from tests.acceptance.service.ledger import open_ledger, read_ledger
from tests.acceptance.service.wire import wire_to
from tests.conftest import ROOT, Stack

MEASURED = "SIGNALBOX_KILLS" in os.environ
KILLS = int(os.environ.get("SIGNALBOX_KILLS", "4"))
ORDERS_PER_KILL, WORKERS = 40, 2

# Jobs that were in hand when their worker was killed.
BEGUN_AGAIN = """
    SELECT count(*) FROM (
        SELECT job_id FROM pgqueuer_log WHERE status = 'picked' AND entrypoint = 'orders.fulfil'
        GROUP BY job_id HAVING count(*) > 1) AS jobs
"""


class Workers:
    """So many processes of one command, each started anew when it is gone."""

    def __init__(self, command: list[str], env: dict[str, str], log: Path, count: int) -> None:
        self._command, self._env, self._log = command, env, log
        self._running = [self._start() for _ in range(count)]
        self.deaths = 0

    def _start(self) -> subprocess.Popen[bytes]:
        command = [str(free_port()) if word == "PORT" else word for word in self._command]
        with self._log.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", *command], cwd=ROOT, env=self._env, stdout=output, stderr=output
            )

    def care(self) -> None:
        for number, process in enumerate(self._running):
            if process.poll() is not None:
                self.deaths += 1
                self._running[number] = self._start()

    def kill_one(self) -> None:
        victim = random.choice(self._running)
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        self.care()

    def end(self) -> None:
        for process in self._running:
            process.kill()
            process.wait()


@contextmanager
def workers(*arguments: Any) -> Iterator[Workers]:
    made = Workers(*arguments)
    try:
        yield made
    finally:
        made.end()


@pytest.fixture
def database(addresses: Addresses, sql: Sql, scratch: str) -> str:
    asyncio.run(migrations.apply(addresses.url(scratch)))
    return scratch


def with_databases(url: str, work: Callable[[Databases], Any]) -> Any:
    async def run() -> Any:
        databases = Databases(build_engine(url, pool_size=4, application_name="test"))
        try:
            return await work(databases)
        finally:
            await databases.dispose()

    return asyncio.run(run())


@pytest.mark.timeout(400 + 60 * KILLS)
def test_workers_killed_at_any_moment_lose_no_order_and_fulfil_none_twice(
    stack: Stack, addresses: Addresses, sql: Sql, database: str, tmp_path: Path
) -> None:
    """Promise 7."""
    sql("INSERT INTO users VALUES (1, 'Ada', 'ada@example.com')", database=database)
    sql("INSERT INTO products VALUES (1, 'Lamp', 100, 1000000)", database=database)
    open_ledger(sql, database)

    async def place(databases: Databases) -> list[UUID]:
        orders, placed = SqlOrderRepository(databases), [uuid4() for _ in range(ORDERS_PER_KILL)]
        for order in placed:
            items = await orders.reserve(order, 1, [Line(1, 1)])
            await orders.place(order, 1, items, "EUR")
        return placed

    url, placed = addresses.url(database), list[UUID]()
    env = environment(stack, addresses, DATABASE_URL=url, INSTANCE="worker-of-a-test")
    started = monotonic()
    with workers(["service", "worker", "--port", "PORT"], env, tmp_path / "worker.log", WORKERS) as running:
        begun = "SELECT count(*) FROM pgqueuer_log WHERE status = 'picked' AND entrypoint = 'orders.fulfil'"
        for _ in range(KILLS):
            before = sql(begun, database=database)[0][0]
            placed += with_databases(url, place)
            eventually(
                lambda before=before: sql(begun, database=database)[0][0] > before, "work", within_s=60, every_s=0.01
            )
            sleep(random.uniform(0, 0.15))
            running.kill_one()

        def all_done() -> bool:
            return sql("SELECT count(*) FROM orders WHERE status = 'placed'", database=database)[0][0] == 0

        with suppress(AssertionError):  # what is left is lost, and counted below
            eventually(all_done, "every order fulfilled", within_s=90, every_s=0.5)
    seen = read_ledger(sql, database, placed)
    begun_again = sql(BEGUN_AGAIN, database=database)[0][0]
    figures = {"promise": 7, "kills": KILLS, "workers": WORKERS, **asdict(seen), "begun_again": begun_again}
    held = seen.lost == seen.doubled == 0 and seen.placed == KILLS * ORDERS_PER_KILL
    if MEASURED:
        keep("kills", {**figures, "seconds": round(monotonic() - started, 1), "held": held})
        assert begun_again, "no kill met a job in hand"
    assert held, figures


def test_a_database_that_says_nothing_any_more_ends_consumer_and_scheduler_in_bounded_time(
    addresses: Addresses, database: str
) -> None:
    """With a job in hand, whose end nobody can be told of. Their worker then makes new ones, until it is back."""
    taken = asyncio.Event()

    async def work(payload: str, headers: Mapping[str, str]) -> None:
        taken.set()
        await asyncio.sleep(3)

    async def ended_after_s(runner: Consumer | Scheduler, since: float) -> float:
        with pytest.raises((OSError, asyncpg.InterfaceError, asyncpg.PostgresError)):
            await runner.run()
        return monotonic() - since

    async def scenario() -> list[float]:
        async with wire_to(addresses.url(database)) as wire:
            consumer = Consumer(wire.url, {QUEUE: work}, application_name="test")
            scheduler = Scheduler(wire.url, {"tick": "* * * * * *"}, application_name="test")
            databases = Databases(build_engine(addresses.url(database), pool_size=1, application_name="test"))
            since = monotonic()
            ends = [asyncio.create_task(ended_after_s(runner, since)) for runner in (consumer, scheduler)]
            async with databases.transaction() as connection:
                await enqueue(connection, QUEUE, "")
            await databases.dispose()
            await asyncio.wait_for(taken.wait(), 10)
            wire.cut()
            cut_after_s = monotonic() - since
            return [end - cut_after_s for end in await asyncio.gather(*ends)]

    assert max(asyncio.run(scenario())) < 16


def test_the_queues_own_connections_are_bounded_by_the_server_as_well(addresses: Addresses) -> None:
    async def scenario() -> dict[str, str]:
        connection = await connect(addresses.database, "test", timeouts=Timeouts(idle_in_transaction_s=7))
        try:
            names = ("statement_timeout", "idle_in_transaction_session_timeout", "tcp_keepalives_idle")
            return {name: await connection.fetchval(f"SHOW {name}") for name in names}
        finally:
            await close(connection)

    assert asyncio.run(scenario()) == {
        "statement_timeout": "9s",
        "idle_in_transaction_session_timeout": "7s",
        "tcp_keepalives_idle": "30",
    }


def jobs(stack: Stack, addresses: Addresses, database: str, *words: str) -> tuple[int, Any]:
    env = environment(stack, addresses, DATABASE_URL=addresses.url(database))
    done = subprocess.run(
        [sys.executable, "-m", "service", "jobs", "--json", *words],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, json.loads(done.stdout or "null")


@pytest.mark.timeout(600)  # workers start again and again, which a busy machine makes long
def test_what_cannot_be_done_is_parked_and_everything_else_is_done_by_priority_and_on_time(
    stack: Stack, addresses: Addresses, sql: Sql, database: str, tmp_path: Path
) -> None:
    sql("CREATE TABLE effects (payload text PRIMARY KEY)", database=database)
    url, usual, urgent = addresses.url(database), [f"usual-{n}" for n in range(25)], [f"urgent-{n}" for n in range(5)]

    async def put_in(databases: Databases) -> None:
        async with databases.transaction() as connection:
            for payload in [*usual[:12], "deadly", "wrong", *usual[12:]]:
                await enqueue(connection, QUEUE, payload)
            await enqueue(connection, QUEUE, "late", within_s=-1)
            for payload in urgent:
                await enqueue(connection, QUEUE, payload, priority=10)

    with_databases(url, put_in)
    env = environment(stack, addresses, DATABASE_URL=url)

    def parked() -> dict[str, dict[str, Any]]:
        rows = sql("SELECT * FROM pgqueuer WHERE status = 'failed'", database=database)
        return {row["payload"].decode(): dict(row) for row in rows}

    def effects() -> set[str]:
        return {row[0] for row in sql("SELECT payload FROM effects", database=database)}

    with workers(["tests.acceptance.service.deadly_worker"], env, tmp_path / "worker.log", 1) as running:
        until = monotonic() + 300
        while set(parked()) != {"deadly", "wrong", "late"} or effects() < {*usual, *urgent, "tick"}:
            assert monotonic() < until, (parked(), effects(), running.deaths)
            running.care()
            sleep(0.2)
        assert effects() == {*usual, *urgent, "tick"}
        assert 3 <= running.deaths <= 6, "one death with all in hand, two alone; the rest may be done beside it"

        code, listed = jobs(stack, addresses, database, "list", "--state", "failed")
        assert code == 0
        by_payload = {job["payload"]: job["id"] for job in listed["jobs"]}
        assert set(by_payload) == {"deadly", "wrong", "late"}
        errors = {
            payload: jobs(stack, addresses, database, "show", str(job))[1]["history"][-1]["error"]
            for payload, job in by_payload.items()
        }
        assert "3 workers died" in errors["deadly"]
        assert "makes no sense" in errors["wrong"]
        assert "had to be done is over" in errors["late"]

        code, done = jobs(stack, addresses, database, "discard", str(by_payload["deadly"]))
        assert (code, done["done"]) == (0, [by_payload["deadly"]])
        code, done = jobs(stack, addresses, database, "replay", "--all")
        assert (code, len(done["done"])) == (0, 2)
        eventually(lambda: "late" in effects(), "the late job, done after all", within_s=60)
        eventually(lambda: set(parked()) == {"wrong"}, "the other one, parked again", within_s=60)
        code, done = jobs(stack, addresses, database, "discard", "1", str(by_payload["deadly"]))
        assert (code, done["done"], done["left"]) == (1, [], sorted([1, by_payload["deadly"]]))
    picked = """
        SELECT priority FROM pgqueuer_log WHERE status = 'picked' AND entrypoint = $1 ORDER BY created, id LIMIT 10
    """
    assert sorted((row[0] for row in sql(picked, QUEUE, database=database)), reverse=True)[:5] == [10] * 5


def test_a_long_history_is_forgotten_piece_by_piece(database: str, addresses: Addresses, sql: Sql) -> None:
    for age, count in (("2 days", 25_000), ("1 hour", 3)):
        sql(
            "INSERT INTO pgqueuer_log (created, job_id, status, priority, entrypoint, aggregated)"
            f" SELECT now() - interval '{age}', n, 'successful', 0, 'q', true FROM generate_series(1, {count}) AS n",
            database=database,
        )
    with_databases(addresses.url(database), lambda databases: forget_history(databases, timedelta(days=1)))
    assert sql("SELECT count(*) FROM pgqueuer_log", database=database)[0][0] == 3


def test_what_nobody_can_read_is_parked_at_once_and_done_when_somebody_can(
    stack: Stack, addresses: Addresses, sql: Sql, database: str, tmp_path: Path
) -> None:
    sql("INSERT INTO users VALUES (1, 'Ada', 'ada@example.com')", database=database)
    sql("INSERT INTO products VALUES (1, 'Lamp', 100, 1000)", database=database)
    url, ordered = addresses.url(database), uuid4()

    async def place(databases: Databases) -> None:
        orders = SqlOrderRepository(databases)
        await orders.place(ordered, 1, await orders.reserve(ordered, 1, [Line(1, 1)]), "EUR")

    async def put_in_nonsense(databases: Databases) -> None:
        async with databases.transaction() as connection:
            await enqueue(connection, "orders.cancel-charge", "not an order")

    def parked() -> dict[str, int]:
        rows = sql("SELECT payload, attempts FROM pgqueuer WHERE status = 'failed'", database=database)
        return {row["payload"].decode(): row["attempts"] for row in rows}

    def fulfilled() -> bool:
        return sql("SELECT status FROM orders", database=database)[0][0] == "fulfilled"

    def counted(queue: str) -> float:
        name = "messaging_dead_lettered_total"
        return worker.counter(f'{name}{{messaging_destination_name="{queue}",reason="unreadable"}}')

    with run_service(stack, addresses, tmp_path / "worker.log", "worker", DATABASE_URL=url) as worker:
        assert worker.http.put("/internal/faults/unreadable-jobs", json={}).status_code == 200
        with_databases(url, place)
        with_databases(url, put_in_nonsense)
        eventually(lambda: parked() == {str(ordered): 0, "not an order": 0}, "both parked without a second try")
        assert counted("orders.fulfil") == counted("orders.cancel-charge") == 1
        assert not fulfilled()
        assert worker.http.delete("/internal/faults/unreadable-jobs").status_code == 200
        eventually(fulfilled, "the order fulfilled after all")
        assert parked() == {"not an order": 0}
