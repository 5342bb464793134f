"""Processes are replaced, the schema changes, and nobody notices.

``SIGNALBOX_ROUNDS`` (1) is how often every process is replaced: `make bench-restarts` does it twenty times (promise 8).
When it is set, the figures are kept in ``bench/results/restarts.json`` and ``deploy.json``.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from uuid import UUID

import httpx
import pytest
from alembic import command
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from bench.keep import keep
from bench.promises.figures import percentile
from service.data import migrations
from service.data.seed import SCARCE_PRODUCTS
from stack import backends
from stack.components import GATEWAY, components
from stack.layout import Layout
from stack.native.credentials import Credentials
from stack.native.launch import Blueprint, Ground, Wish
from stack.native.render import render
from tests.acceptance.backends import eventually
from tests.acceptance.service.address import address
from tests.acceptance.service.conftest import Addresses, Sql, environment, free_port
from tests.acceptance.service.ledger import open_ledger, read_ledger
from tests.conftest import ROOT, Stack

MEASURED = "SIGNALBOX_ROUNDS" in os.environ
ROUNDS = int(os.environ.get("SIGNALBOX_ROUNDS", "1"))
HANDS, PER_HAND_S = 4, 5.0  # requests a second of each hand


class Load:
    """Readers and buyers who notice every failure. ``answers`` counts them by what came back, ``placed`` are the orders
    that were confirmed. Of ``products`` only those are asked for of which there are plenty."""

    def __init__(self, url: str, headers: Mapping[str, str], products: int) -> None:
        self.answers: Counter[str] = Counter()
        self.placed: list[UUID] = []
        self.waits_s: list[float] = []
        self._client = httpx.Client(base_url=url, timeout=20, headers=headers)
        self._products = range(SCARCE_PRODUCTS + 1, products + 1)
        self._enough = threading.Event()
        self._hands = [threading.Thread(target=self._work, args=(hand,)) for hand in range(HANDS)]

    def _ask(self, turn: int) -> str:
        product = self._products[turn * 7919 % len(self._products)]
        try:
            if turn % 4 == 3:
                order = {"user_id": 1, "items": [{"product_id": product, "quantity": 1}]}
                key = {"Idempotency-Key": f"life-{os.getpid()}-{turn}"}
                answer = self._client.post("/v1/orders", json=order, headers=key)
                if answer.status_code == 201:
                    self.placed.append(UUID(answer.json()["id"]))
            else:
                path = (f"/v1/products/{product}", "/v1/products?limit=5", "/v1/users/1")[turn % 4]
                answer = self._client.get(path)
        except httpx.HTTPError as error:
            return repr(error)
        return "good" if answer.status_code in (200, 201) else f"{answer.status_code} {answer.text[:200]}"

    def _work(self, hand: int) -> None:
        due, turn = monotonic(), hand * 1_000_000
        while not self._enough.is_set():
            self.answers[self._ask(turn)] += 1
            self.waits_s.append(monotonic() - due)
            turn, due = turn + 1, due + 1 / PER_HAND_S
            sleep(max(0.0, due - monotonic()))

    def more(self, answers: int = 20) -> None:
        """Return when so many more good ones have come, or fail."""
        before = self.answers["good"]
        eventually(lambda: self.answers["good"] >= before + answers, f"{answers} more answers", within_s=30)

    def figures(self) -> dict[str, Any]:
        """What came of it. A wait counts from when the request was due."""
        failed = self.answers.total() - self.answers["good"]
        waits_ms = {f"p{q}_ms": round(percentile(self.waits_s, q / 100) * 1000, 1) for q in (50, 99)}
        return {"requests": self.answers.total(), "failed": failed, **waits_ms}

    def __enter__(self) -> Load:
        for hand in self._hands:
            hand.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        for hand in self._hands:
            hand.join()
        self._client.close()


UNDONE = """
    SELECT count(*) FROM unnest($1::uuid[]) AS placed (order_id)
    LEFT JOIN orders ON orders.id = placed.order_id
    LEFT JOIN payments.charges ON charges.order_id = placed.order_id
    WHERE orders.status IS DISTINCT FROM 'fulfilled' OR charges.status IS DISTINCT FROM 'captured'
       OR charges.amount_cents <> orders.total_cents
"""


@pytest.mark.timeout(300 * ROUNDS + 100)
def test_a_rolling_restart_under_load_fails_no_request_and_loses_no_order(
    stack: Stack, user: httpx.Client, sql: Sql
) -> None:
    """Promise 8, through the stack's own gateway."""
    names = ("api-1", "api-2", "payments", "worker")
    before, started = {name: stack.component(name)["pid"] for name in names}, monotonic()
    with Load(stack.urls["gateway"], dict(user.headers), products=1000) as load:
        load.more()
        for _ in range(ROUNDS):
            done = stack.signalbox("restart", "--rolling", timeout_s=300)
            assert done.returncode == 0, done.stderr
    after = {name: stack.component(name)["pid"] for name in names}
    with suppress(AssertionError):  # what is left is lost, and counted below
        eventually(lambda: sql(UNDONE, load.placed)[0][0] == 0, "every order charged and fulfilled", within_s=60)
    lost = sql(UNDONE, load.placed)[0][0]
    figures = {
        "promise": 8,
        "rounds": ROUNDS,
        "replaced": names,
        **load.figures(),
        "orders": len(load.placed),
        "lost": lost,
    }
    held = figures["failed"] == lost == 0 and all(before[name] != after[name] for name in names)
    if MEASURED:
        keep("restarts", {**figures, "seconds": round(monotonic() - started, 1), "held": held})
    assert held, (figures, load.answers, before, after)


# A deploy of its own: the release before with the schema that it left, all its processes, and a gateway in front.

RELEASE_BEFORE, SCHEMA_BEFORE = "2f97519", "0002"
PRODUCTS, STOCK = 200, 1_000_000


@pytest.fixture
def release_before(tmp_path: Path) -> Path:
    """The service's code as it was before it knew of refunds, from the history of this checkout."""
    folder = tmp_path / "release-before"
    folder.mkdir()
    archive = subprocess.run(["git", "archive", RELEASE_BEFORE, "service"], cwd=ROOT, capture_output=True, check=False)
    if archive.returncode != 0:
        pytest.skip(f"the history does not go back to {RELEASE_BEFORE}: a shallow clone?")
    subprocess.run(["tar", "x", "-C", str(folder)], input=archive.stdout, check=True)
    return folder


class Replica:
    """One process of a release, at a port that its successor takes over."""

    def __init__(self, service: str, port: int, env: Mapping[str, str], log: Path, code: Path = ROOT) -> None:
        self._command = [sys.executable, "-m", "service", service, "--port", str(port)]
        self.port, self._env, self._log, self._url = port, env, log, f"http://127.0.0.1:{port}"
        self.start(code)

    def start(self, code: Path) -> None:
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(self._command, cwd=code, env=self._env, stdout=output, stderr=output)
        eventually(lambda: httpx.get(f"{self._url}/readyz").status_code == 200, "a replica", within_s=90)

    def stop(self) -> int:
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(timeout=60)

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


@contextmanager
def gateway(tmp_path: Path, offset: int, log: Path) -> Iterator[str]:
    """The gateway with its real configuration, in front of two replicas."""
    found = backends.probe("caddy")
    if found is None:
        pytest.fail("the stack runs, so its gateway must be there")
    layout = Layout(ROOT, tmp_path / "gateway", offset)
    layout.make()
    blueprint = Blueprint(layout, Wish(), components(2), Credentials(layout.secrets))
    render(blueprint)
    (data := layout.data / "gateway").mkdir(exist_ok=True)
    launch = blueprint.launch(GATEWAY, Ground(data, found.executables))
    with (
        log.open("wb") as output,
        subprocess.Popen(launch.command, env=dict(launch.env), stdout=output, stderr=output) as process,
    ):
        try:
            url = f"http://127.0.0.1:{layout.port(8080)}"
            eventually(lambda: httpx.get(f"{url}/v1/products/1").status_code == 200, "the gateway", within_s=30)
            yield url
        finally:
            process.kill()


def bring_to(url: str, version: str) -> None:
    def upgrade(connection: Connection) -> None:
        config = migrations.build_config()
        config.attributes["connection"] = connection
        command.upgrade(config, version)

    async def run() -> None:
        engine = create_async_engine(url)
        async with engine.connect() as connection:
            await connection.run_sync(upgrade)
            await connection.commit()
        await engine.dispose()

    asyncio.run(run())


@pytest.mark.timeout(900)
def test_a_deploy_with_a_migration_fails_no_request_and_loses_or_doubles_no_job(
    stack: Stack, addresses: Addresses, sql: Sql, scratch: str, tmp_path: Path, release_before: Path
) -> None:
    """All of it under load: the schema expands, then API, payments and workers are replaced one by one, then it
    contracts. In this order the newer one of two always knows the older one's form."""
    url, offset, started = addresses.url(scratch), stack.port_offset + 7000, monotonic()
    bring_to(url, SCHEMA_BEFORE)
    sql("INSERT INTO users VALUES (1, 'Ada', 'ada@example.com')", database=scratch)
    goods = f"INSERT INTO products SELECT n, 'Lamp', 100, {STOCK} FROM generate_series(1, {PRODUCTS}) n"
    sql(goods, database=scratch)
    open_ledger(sql, scratch)

    def version() -> str:
        return str(sql("SELECT version_num FROM alembic_version", database=scratch)[0][0])

    def migrate(*words: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "service", "migrate", *words], cwd=ROOT, env=env, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr

    env: dict[str, Any] = {}

    def start(service: str, port: int, code: Path, **changes: str) -> Replica:
        replica = Replica(service, port, env | changes, tmp_path / f"{service}-{port}.log", code)
        ending.callback(replica.end)
        return replica

    with ExitStack() as ending:
        payments_at = ending.enter_context(address(free_port()))
        env |= environment(
            stack,
            addresses,
            DATABASE_URL=url,
            PAYMENTS_URL=payments_at.url,
            VALKEY_URL=addresses.valkey.replace("/0", "/1"),
            SIGN_IN="off",
            DRAIN_S="2",
        )
        payments = start("payments", payments_at.leads_to, release_before)
        replicas = [start("api", port + offset, release_before) for port in (8101, 8102)]
        workers = [start("worker", free_port(), release_before) for _ in range(2)]
        with gateway(tmp_path, offset, tmp_path / "gateway.log") as front, Load(front, {}, PRODUCTS) as load:
            load.more()
            migrate()
            expanded = version()
            load.more()  # the release before on the new schema
            for replica in replicas:
                assert replica.stop() == 0
                replica.start(ROOT)
                load.more()  # both releases side by side
            successor = start(
                "payments", free_port(), ROOT, SIGNALBOX_SIGN_IN="required"
            )  # who charges has a token by now
            payments_at.leads_to = successor.port
            assert payments.stop() == 0
            load.more()
            for worker in workers:
                assert worker.stop() == 0
                worker.start(ROOT)
                load.more()
            migrate("--contract")
            load.more()
        with suppress(AssertionError):  # what is left is lost, and counted below
            eventually(lambda: read_ledger(sql, scratch, load.placed).lost == 0, "every order fulfilled", within_s=60)
    seen, sold = (
        read_ledger(sql, scratch, load.placed),
        PRODUCTS * STOCK - sql("SELECT sum(stock) FROM products", database=scratch)[0][0],
    )
    charged = sql("SELECT count(*) FROM payments.charges WHERE status = 'captured'", database=scratch)[0][0]
    figures = {"from": RELEASE_BEFORE, "schema": [SCHEMA_BEFORE, expanded, version()], **load.figures(), **asdict(seen)}
    figures |= {"sold": int(sold), "charged": charged}
    held = figures["failed"] == seen.lost == seen.doubled == 0 and seen.placed == charged == sold
    if MEASURED:
        keep("deploy", {**figures, "seconds": round(monotonic() - started, 1), "held": held})
    assert held, (figures, load.answers)
    assert SCHEMA_BEFORE < expanded < version()


def test_a_process_whose_collector_is_a_black_hole_leaves_in_time(
    stack: Stack, addresses: Addresses, tmp_path: Path
) -> None:
    """Promise 8: gone five seconds after the drain, with spans that nobody takes."""
    with socket.socket() as hole:
        hole.bind(("127.0.0.1", 0))
        hole.listen(1)
        env = environment(
            stack, addresses, OTLP_URL=f"http://127.0.0.1:{hole.getsockname()[1]}", DRAIN_S="1", SIGN_IN="off"
        )
        port = free_port()
        replica = Replica("api", port, env, tmp_path / "api.log")
        try:
            for product in range(1, 50):
                httpx.get(f"http://127.0.0.1:{port}/v1/products/{product}")
            told = monotonic()
            assert replica.stop() == 0
            assert monotonic() - told < 1 + 5
        finally:
            replica.end()
