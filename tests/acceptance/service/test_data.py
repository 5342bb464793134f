"""What stands between a caller and a row: time-outs at every level, the replica, the cache; on real servers."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import asyncpg
import httpx
import pytest
from redis.asyncio import Redis
from sqlalchemy import text

from service.catalog.model import Product
from service.data import cache as cache_module
from service.data.cache import Cache, build_cache_client
from service.data.engines import Databases, DatabaseUnavailable, Standby, Timeouts, build_engine
from service.data.replica import MOST_LAG_S
from tests.acceptance.backends import eventually
from tests.acceptance.service.conftest import Addresses, Process, Sql, free_port, run_api
from tests.acceptance.service.wire import wire_to
from tests.conftest import Stack

SHORT_S = 0.3
PRODUCT = Product(1, "Slim Oak Desk", 100, 5)


@asynccontextmanager
async def pool(url: str, **timeouts: float) -> AsyncIterator[Databases]:
    databases = Databases(
        build_engine(url, pool_size=1, application_name="signalbox/timeouts", timeouts=Timeouts(**timeouts))
    )
    try:
        yield databases
    finally:
        await databases.dispose()


@asynccontextmanager
async def many(url: str) -> AsyncIterator[Databases]:
    """With the service's own time-outs, and a connection for each of ten callers."""
    databases = Databases(build_engine(url, pool_size=10, application_name="signalbox/timeouts"))
    try:
        yield databases
    finally:
        await databases.dispose()


async def wait_for_a_connection(databases: Databases) -> None:
    async with databases.transaction():
        await databases.read(text("SELECT 1"))


async def wait_for_a_statement(databases: Databases) -> None:
    await databases.read(text("SELECT pg_sleep(3)"))


async def wait_between_statements(databases: Databases) -> None:
    async with databases.transaction() as connection:
        await connection.execute(text("SELECT 1"))
        await asyncio.sleep(3 * SHORT_S)
        await connection.execute(text("SELECT 1"))


@pytest.mark.parametrize(
    ("timeout", "use"),
    [
        ("acquire_s", wait_for_a_connection),
        ("statement_s", wait_for_a_statement),
        ("idle_in_transaction_s", wait_between_statements),
    ],
)
def test_each_time_out_ends_its_wait_and_the_pool_lives_on(addresses: Addresses, timeout: str, use: Any) -> None:
    async def scenario() -> float:
        async with pool(addresses.database, **{timeout: SHORT_S}) as databases:
            await databases.read(text("SELECT 1"))
            started = monotonic()
            with pytest.raises(DatabaseUnavailable):
                await use(databases)
            took_s = monotonic() - started
            assert (await databases.read(text("SELECT 1 AS one")))[0].one == 1
            return took_s

    assert SHORT_S * 0.9 < asyncio.run(scenario()) < 2


def test_a_server_that_never_answers_is_given_up_when_connecting(addresses: Addresses) -> None:
    async def scenario() -> float:
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen(1)
            url = f"postgresql+asyncpg://nobody:x@127.0.0.1:{silent.getsockname()[1]}/none"
            async with pool(url, connect_s=SHORT_S) as databases:
                started = monotonic()
                with pytest.raises(DatabaseUnavailable):
                    await databases.read(text("SELECT 1"))
                return monotonic() - started

    assert SHORT_S * 0.9 < asyncio.run(scenario()) < 2


def test_a_transaction_undone_for_a_deadlock_may_be_tried_again(addresses: Addresses) -> None:
    """Advisory locks of the transaction, taken by two in opposite order: the server undoes one of them."""

    async def take(databases: Databases, first: int, second: int, both: asyncio.Barrier) -> None:
        async with databases.transaction() as connection:
            await connection.execute(text(f"SELECT pg_advisory_xact_lock(4711, {first})"))
            await both.wait()
            await connection.execute(text(f"SELECT pg_advisory_xact_lock(4711, {second})"))

    async def scenario() -> list[BaseException | None]:
        async with (
            pool(addresses.database, statement_s=10) as one,
            pool(addresses.database, statement_s=10) as other,
        ):
            both = asyncio.Barrier(2)
            return await asyncio.gather(take(one, 1, 2, both), take(other, 2, 1, both), return_exceptions=True)

    ended = asyncio.run(scenario())
    assert {type(end) for end in ended} == {type(None), DatabaseUnavailable}


def test_a_deadline_ends_the_statement_on_the_server_too(addresses: Addresses, sql: Sql) -> None:
    busy = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT pg_sleep(29)%'"

    async def scenario() -> None:
        async with pool(addresses.database, statement_s=30) as databases:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(SHORT_S):
                    await databases.read(text("SELECT pg_sleep(29)"))
            assert (await databases.read(text("SELECT 1 AS one")))[0].one == 1

    asyncio.run(scenario())
    eventually(lambda: sql(busy)[0][0] == 0, "the end of the statement on the server", within_s=3)


# the circuit to the primary


def test_a_primary_that_says_nothing_any_more_is_asked_no_more_until_it_is_back(addresses: Addresses) -> None:
    async def ask(databases: Databases) -> str:
        try:
            async with asyncio.timeout(8), databases.transaction() as connection:
                await connection.execute(text("SELECT 1"))
        except (DatabaseUnavailable, TimeoutError) as error:
            return str(error)
        return "answered"

    async def scenario() -> tuple[float, float, str, list[str]]:
        async with wire_to(addresses.database) as wire, many(wire.url) as databases:
            assert await asyncio.gather(*(ask(databases) for _ in range(20))) == ["answered"] * 20
            wire.cut()
            started, said = monotonic(), ""
            while "not asked" not in said and monotonic() < started + 30:
                said = (await asyncio.gather(*(ask(databases) for _ in range(10))))[-1]
            opened_after_s, started = monotonic() - started, monotonic()
            refused = await ask(databases)
            refused_after_s = monotonic() - started
            wire.mend()
            for _ in range(100):
                if await ask(databases) == "answered":
                    break
                await asyncio.sleep(0.1)
            return opened_after_s, refused_after_s, refused, [await ask(databases) for _ in range(20)]

    opened_after_s, refused_after_s, refused, after = asyncio.run(scenario())
    assert opened_after_s < 15
    assert refused_after_s < 0.1
    assert "was not asked" in refused
    assert after == ["answered"] * 20


def test_slow_statements_and_a_full_pool_open_no_circuit(addresses: Addresses) -> None:
    async def scenario() -> int:
        async with pool(addresses.database, statement_s=0.1, acquire_s=0.1) as databases:
            for _ in range(12):
                with pytest.raises(DatabaseUnavailable):
                    await databases.read(text("SELECT pg_sleep(1)"))
            async with databases.transaction():
                for _ in range(12):
                    with pytest.raises(DatabaseUnavailable):
                        await databases.read(text("SELECT 1"))
            return int((await databases.read(text("SELECT 1 AS one")))[0].one)

    assert asyncio.run(scenario()) == 1


def test_a_silent_server_does_not_keep_a_process_from_leaving(addresses: Addresses) -> None:
    async def scenario() -> float:
        async with wire_to(addresses.database) as wire, many(wire.url) as databases:
            await asyncio.gather(*(databases.read(text("SELECT pg_sleep(0.1)")) for _ in range(5)))
            wire.cut()
            started = monotonic()
            await databases.dispose()
            return monotonic() - started

    assert asyncio.run(scenario()) < 2


def test_connections_to_what_is_a_primary_no_more_are_made_anew(addresses: Addresses) -> None:
    """After a change of roles the old primary may live on, and refuses what is written."""

    async def scenario() -> None:
        async with pool(addresses.database) as databases:
            async with databases.transaction() as connection:
                await connection.execute(text("SET default_transaction_read_only = on"))
            with pytest.raises(DatabaseUnavailable):
                await write(databases)
            await write(databases)

    async def write(databases: Databases) -> None:
        async with databases.transaction() as connection:
            await connection.execute(text("DELETE FROM order_keys WHERE client = 'nobody'"))

    asyncio.run(scenario())


# the replica


def replica_url(addresses: Addresses) -> str:
    port = int(addresses.database.rsplit(":", 1)[1].split("/")[0])
    return addresses.database.replace(f":{port}/", f":{port + 1}/")


@contextmanager
def paused(addresses: Addresses) -> Iterator[None]:
    """The replica replays nothing."""
    port = int(addresses.superuser.rsplit(":", 1)[1].split("/")[0])

    def tell(function: str) -> None:
        async def run() -> None:
            connection = await asyncpg.connect(addresses.superuser.replace(f":{port}/", f":{port + 1}/"), timeout=5)
            await connection.execute(f"SELECT {function}()")
            await connection.close()

        asyncio.run(run())

    tell("pg_wal_replay_pause")
    try:
        yield
    finally:
        tell("pg_wal_replay_resume")


@pytest.fixture(scope="module")
def reader(stack: Stack, addresses: Addresses, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    log = tmp_path_factory.mktemp("reader") / "api.log"
    with run_api(stack, addresses, log, REPLICA_URLS=replica_url(addresses)) as api:
        eventually(lambda: reads(api, "replica", "") or not api.http.get("/v1/users/1"), "a read from the replica")
        yield api


def reads(api: Process, where: str, reason: str) -> float:
    return api.counter(f'db_reads_total{{db_client_connection_pool_name="{where}",reason="{reason}"}}')


def an_order() -> dict[str, Any]:
    return {"user_id": 17, "items": [{"product_id": 510, "quantity": 1}]}


def test_who_wrote_reads_from_the_primary_until_the_replica_has_it_and_others_do_not(
    reader: Process, addresses: Addresses
) -> None:
    with httpx.Client(base_url=reader.http.base_url, timeout=15) as writer, paused(addresses):
        assert writer.post("/v1/orders", json=an_order()).status_code == 201
        assert writer.cookies["last_write"]
        before = reads(reader, "primary", "own-write"), reads(reader, "replica", "")
        assert writer.get("/v1/users/5").status_code == 200
        assert (reads(reader, "primary", "own-write"), reads(reader, "replica", "")) == (before[0] + 1, before[1])
        assert httpx.get(f"{reader.http.base_url}/v1/users/5").status_code == 200
        assert (reads(reader, "primary", "own-write"), reads(reader, "replica", "")) == (before[0] + 1, before[1] + 1)

    def replica_again() -> bool:
        seen = reads(reader, "replica", "")
        writer_again = httpx.get(f"{reader.http.base_url}/v1/users/5", cookies=dict(writer.cookies))
        return writer_again.status_code == 200 and reads(reader, "replica", "") == seen + 1

    eventually(replica_again, "the writer's reads back on the replica")


def test_a_replica_that_lags_gets_no_reads_until_it_has_caught_up(reader: Process, addresses: Addresses) -> None:
    def refused() -> bool:
        assert reader.http.post("/v1/orders", json=an_order()).status_code == 201
        before = reads(reader, "primary", "lag")
        assert httpx.get(f"{reader.http.base_url}/v1/users/6").status_code == 200
        return reads(reader, "primary", "lag") > before

    with paused(addresses):
        eventually(refused, "reads that leave a lagging replica", within_s=MOST_LAG_S + 10, every_s=0.5)
        assert reader.counter('db_replica_lag_seconds{db_client_connection_pool_name="replica"}') > MOST_LAG_S

    def accepted() -> bool:
        before = reads(reader, "replica", "")
        assert httpx.get(f"{reader.http.base_url}/v1/users/6").status_code == 200
        return reads(reader, "replica", "") > before

    eventually(accepted, "reads on the replica again")


def test_reads_are_spread_over_the_replicas_that_are_there(stack: Stack, addresses: Addresses, tmp_path: Path) -> None:
    gone = f"postgresql+asyncpg://signalbox:x@127.0.0.1:{free_port()}/signalbox"
    three = ",".join([replica_url(addresses), gone, replica_url(addresses)])
    with run_api(stack, addresses, tmp_path / "api.log", REPLICA_URLS=three) as api:
        pools = ("replica", "replica-2", "replica-3")

        def read_somewhere() -> bool:
            assert api.http.get("/v1/users/1").status_code == 200
            return min(reads(api, "replica", ""), reads(api, "replica-3", "")) > 0

        eventually(read_somewhere, "reads from both replicas")
        before = [reads(api, pool, "") for pool in pools]
        assert {api.http.get(f"/v1/users/{number}").status_code for number in range(1, 21)} == {200}
        assert [reads(api, pool, "") - was for pool, was in zip(pools, before, strict=True)] == [10, 0, 10]


def test_a_slow_read_and_a_full_pool_do_not_send_the_replica_away(addresses: Addresses) -> None:
    """Its only connection is taken by a read that is too slow; who comes meanwhile is answered as well."""

    async def scenario() -> None:
        def engine(url: str) -> Any:
            return build_engine(url, pool_size=1, application_name="signalbox/full", timeouts=Timeouts())

        replica = replica_url(addresses)
        standby = Standby("replica", engine(replica), engine(replica))
        databases = Databases(engine(addresses.database), [standby])
        databases.start()
        try:
            for _ in range(200):
                if standby.state.refuses() is None:
                    break
                await asyncio.sleep(0.05)
            slow = asyncio.create_task(databases.read(text("SELECT pg_sleep(1.5)")))
            await asyncio.sleep(0.1)
            others = [asyncio.create_task(databases.read(text("SELECT 1 AS one"))) for _ in range(5)]
            while not slow.done():
                assert standby.state.refuses() is None
                await asyncio.sleep(0.05)
            assert [(await other)[0].one for other in others] == [1] * 5
            await slow
        finally:
            await databases.dispose()

    asyncio.run(scenario())


def test_without_a_replica_nothing_fails(stack: Stack, addresses: Addresses, tmp_path: Path) -> None:
    gone = f"postgresql+asyncpg://signalbox:x@127.0.0.1:{free_port()}/signalbox"
    with run_api(stack, addresses, tmp_path / "api.log", REPLICA_URLS=gone) as api:
        with ThreadPoolExecutor(4) as hands:
            answers = list(hands.map(lambda n: api.http.get(f"/v1/users/{n}").status_code, range(1, 41)))
        assert set(answers) == {200}
        assert reads(api, "primary", "away") == 40


def test_without_a_primary_what_is_read_is_read_all_the_same(
    stack: Stack, addresses: Addresses, tmp_path: Path
) -> None:
    """It is the same for all processes: were they not ready without it, the gateway would have nobody to ask."""
    gone = f"postgresql+asyncpg://signalbox:x@127.0.0.1:{free_port()}/signalbox"
    replica = replica_url(addresses)
    with run_api(stack, addresses, tmp_path / "api.log", DATABASE_URL=gone, REPLICA_URLS=replica) as api:
        eventually(lambda: api.http.get("/v1/users/1").status_code == 200, "a read from the replica")
        assert {api.http.get(f"/v1/products/{number}").status_code for number in range(1, 11)} == {200}
        assert api.http.get("/readyz").status_code == 200
        refused = api.http.post("/v1/orders", json=an_order())
        assert refused.status_code == 503
        assert refused.headers["content-type"] == "application/problem+json"


# the cache


class Source:
    """Where values come from: counts how often it is asked, and takes its time."""

    def __init__(self, value: Product | None = PRODUCT, takes_s: float = 0.1) -> None:
        self.value, self.takes_s, self.asked = value, takes_s, 0

    async def load(self) -> Product | None:
        self.asked += 1
        value = self.value
        await asyncio.sleep(self.takes_s)
        return value


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine Valkey's answer may take longer than the service would wait, which then loads by itself."""
    monkeypatch.setattr(cache_module, "TIMEOUT_S", 5.0)


async def clear(client: Redis) -> None:
    async for key in client.scan_iter("of-a-test:*"):
        await client.delete(key)


@asynccontextmanager
async def caches(addresses: Addresses, count: int = 1, **more: Any) -> AsyncIterator[list[Cache[Product]]]:
    """Caches of the same values, each with a client of its own like processes have."""
    clients = [build_cache_client(addresses.valkey, pool_size=10) for _ in range(count)]
    options = {"ttl_s": 30.0, "absent_ttl_s": 30.0, **more}
    made = [Cache(client, "of-a-test", Product, **options) for client in clients]
    await clear(clients[0])
    try:
        yield made
    finally:
        await clear(clients[0])
        for client in clients:
            await client.aclose()


@pytest.mark.usefixtures("patient")
def test_a_crowd_in_three_processes_loads_once(addresses: Addresses) -> None:
    async def scenario() -> None:
        source = Source()
        async with caches(addresses, 3) as made:
            found = await asyncio.gather(*(cache.get("k", source.load) for cache in made for _ in range(50)))
        assert set(found) == {PRODUCT}
        assert source.asked == 1

    asyncio.run(scenario())


def test_a_crowd_of_one_process_loads_once_even_without_valkey(addresses: Addresses) -> None:
    async def scenario() -> None:
        source = Source(takes_s=1)  # longer than it takes a busy machine to refuse fifty look-ups
        client = build_cache_client(f"redis://127.0.0.1:{free_port()}/0", pool_size=10)
        cache = Cache(client, "of-a-test", Product, ttl_s=30, absent_ttl_s=30)
        assert set(await asyncio.gather(*(cache.get("k", source.load) for _ in range(50)))) == {PRODUCT}
        assert source.asked == 1
        await client.aclose()

    asyncio.run(scenario())


@pytest.mark.usefixtures("patient")
def test_who_leaves_early_cancels_nobody_elses_load(addresses: Addresses) -> None:
    async def scenario() -> None:
        source = Source(takes_s=0.2)
        async with caches(addresses) as (cache,):
            first = asyncio.create_task(cache.get("k", source.load))
            await asyncio.sleep(0.05)
            second = asyncio.create_task(cache.get("k", source.load))
            await asyncio.sleep(0.05)
            first.cancel()
            assert await second == PRODUCT
        assert source.asked == 1

    asyncio.run(scenario())


@pytest.mark.usefixtures("patient")
def test_that_something_is_not_there_is_remembered_for_a_shorter_time(addresses: Addresses) -> None:
    async def scenario() -> None:
        source = Source(None, takes_s=0)
        async with caches(addresses, absent_ttl_s=0.5) as (cache,):
            assert [await cache.get("k", source.load) for _ in range(3)] == [None] * 3
            assert source.asked == 1
            source.value = PRODUCT
            await asyncio.sleep(0.6)
            assert await cache.get("k", source.load) == PRODUCT

    asyncio.run(scenario())


@pytest.mark.usefixtures("patient")
def test_copies_that_are_made_together_do_not_expire_together(addresses: Addresses) -> None:
    async def scenario() -> list[int]:
        source = Source(takes_s=0)
        async with caches(addresses, ttl_s=600.0) as (cache,), build_cache_client(addresses.valkey, pool_size=1) as own:
            await asyncio.gather(*(cache.get(number, source.load) for number in range(50)))
            return [await own.pttl(cache.entry(number)) for number in range(50)]

    left_ms = asyncio.run(scenario())
    assert all(530_000 < left <= 660_000 for left in left_ms)
    assert max(left_ms) - min(left_ms) > 60_000


@pytest.mark.usefixtures("patient")
def test_versions_that_know_different_shapes_never_read_each_others_copies(addresses: Addresses) -> None:
    @dataclass(frozen=True)
    class Product:  # as it might become
        id: int
        name: str

    async def scenario() -> None:
        async with caches(addresses) as (now,), build_cache_client(addresses.valkey, pool_size=1) as client:
            later = Cache(client, "of-a-test", Product, ttl_s=30, absent_ttl_s=30)
            other_meaning = Cache(client, "of-a-test", type(PRODUCT), ttl_s=30, absent_ttl_s=30, version=2)
            source = Source(takes_s=0)
            assert await now.get("k", source.load) == PRODUCT

            async def load_later() -> Product:
                return Product(1, "Slim Oak Desk")

            assert await later.get("k", load_later) == Product(1, "Slim Oak Desk")
            assert await other_meaning.get("k", source.load) == PRODUCT
            assert await now.get("k", source.load) == PRODUCT
            assert source.asked == 2

    asyncio.run(scenario())


@pytest.mark.usefixtures("patient")
def test_a_copy_is_loaded_anew_before_it_expires_while_its_readers_are_served(addresses: Addresses) -> None:
    async def scenario() -> None:
        source = Source(takes_s=0.4)
        async with caches(addresses, 2, ttl_s=1.0) as made:
            await made[0].get("k", source.load)
            slowest, until = 0.0, monotonic() + 4
            while monotonic() < until:
                for cache in made:
                    started = monotonic()
                    assert await cache.get("k", source.load) == PRODUCT
                    slowest = max(slowest, monotonic() - started)
                await asyncio.sleep(0.005)
        assert slowest < 0.35, "a reader waited for a load"
        assert 4 <= source.asked <= 20

    asyncio.run(scenario())


@pytest.mark.usefixtures("patient")
def test_a_load_that_outlives_its_lease_leaves_no_old_value_behind(
    addresses: Addresses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "LEASE_MS", 100)

    async def scenario() -> None:
        slow, quick = Source(takes_s=0.5), Source(Product(1, "Slim Oak Desk", 200, 5), takes_s=0)
        async with caches(addresses, 2) as (one, other):
            old = asyncio.create_task(one.get("k", slow.load))
            await asyncio.sleep(0.2)
            assert await other.get("k", quick.load) == quick.value
            assert await old == PRODUCT
            assert await other.get("k", slow.load) == quick.value

    asyncio.run(scenario())


@pytest.mark.usefixtures("patient")
def test_a_load_that_fails_fails_for_all_who_wait_and_for_nobody_after(addresses: Addresses) -> None:
    async def scenario() -> None:
        async def fail() -> Product:
            await asyncio.sleep(0.05)
            raise DatabaseUnavailable("gone")

        source = Source(takes_s=0)
        async with caches(addresses) as (cache,):
            failed = await asyncio.gather(*(cache.get("k", fail) for _ in range(5)), return_exceptions=True)
            assert {type(error) for error in failed} == {DatabaseUnavailable}
            started = monotonic()
            assert await cache.get("k", source.load) == PRODUCT
            assert monotonic() - started < 0.2, "the next one waited for a lease that nobody holds"

    asyncio.run(scenario())
