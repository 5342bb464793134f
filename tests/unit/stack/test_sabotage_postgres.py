"""Faults of the database, done to a real one: broken as told, whole again afterwards, even by somebody else."""

import asyncio
from contextlib import suppress

import asyncpg
import pytest
from test_supervisor_postgres import FOUND, ask, running, workshop

from stack.native.postgres import prepare_primary, prepare_replica
from stack.sabotage.database import (
    DropIndex,
    HoldLock,
    IndexParameters,
    LockParameters,
    PauseReplay,
    Server,
)
from stack.sabotage.fault import Parameters, Refused

__all__ = ["workshop"]
pytestmark = [pytest.mark.skipif(FOUND is None, reason="PostgreSQL is not on this machine"), pytest.mark.processes]

SCHEMA = """
    CREATE TABLE products (id bigint PRIMARY KEY, stock bigint NOT NULL);
    CREATE TABLE items (product_id bigint NOT NULL REFERENCES products);
    CREATE INDEX products_by_stock ON products (stock);
    INSERT INTO products SELECT n, n FROM generate_series(1, 1000) n;
    INSERT INTO items SELECT n FROM generate_series(1, 1000) n;
    GRANT ALL ON products, items TO signalbox;
"""
SHAPE = """
    SELECT string_agg(what, E'\\n' ORDER BY what) FROM (
        SELECT indexdef AS what FROM pg_indexes WHERE schemaname = 'public'
        UNION ALL
        SELECT conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid)
        FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype IN ('p', 'f')
    ) all_of_it
"""


def test_what_is_broken_in_a_database_is_whole_again_afterwards(workshop):
    async def scenario() -> None:
        ground = await prepare_primary(workshop)
        async with running(workshop, ground):
            await ask(workshop, "postgres", "select 1")
            password = workshop.credentials["postgres_password"]
            primary = Server(f"127.0.0.1:{workshop.ports['postgres']}", password)
            replica = Server(f"127.0.0.1:{workshop.ports['postgres-replica']}", password)
            await primary.run([SCHEMA])
            await an_index_is_dropped_and_built_again(workshop, primary)
            await a_lock_keeps_writers_out_and_lets_readers_in(workshop, primary)
            async with running(workshop, await prepare_replica(workshop)):
                await ask(workshop, "postgres-replica", "select 1")
                await a_replica_stands_still_and_catches_up(workshop, primary, replica)

    asyncio.run(scenario())


async def an_index_is_dropped_and_built_again(workshop, primary: Server) -> None:
    fault, before = DropIndex(primary), await ask(workshop, "postgres", SHAPE)
    for name in ("products_pkey", "products_by_stock"):
        parameters = IndexParameters(index=name)
        record = await fault.plan(parameters)
        await fault.apply(parameters, record)
        assert await ask(workshop, "postgres", f"select to_regclass('{name}')") is None
        await DropIndex(primary).undo(parameters, record)  # by the process that comes after a killed one
        await fault.undo(parameters, record)  # and once more
        assert await ask(workshop, "postgres", SHAPE) == before
    with pytest.raises(Refused, match="no index 'nonsense'"):
        await fault.plan(IndexParameters(index="nonsense"))


async def a_lock_keeps_writers_out_and_lets_readers_in(workshop, primary: Server) -> None:
    fault, parameters = HoldLock(primary), LockParameters(table="products")
    write = "set lock_timeout = '200ms'; update products set stock = stock"
    await fault.apply(parameters, {})
    assert await ask(workshop, "postgres", "select count(*) from products") == 1000
    with pytest.raises(asyncpg.LockNotAvailableError):
        await statements(workshop, write)
    await fault.undo(parameters, {})
    await fault.undo(parameters, {})
    await statements(workshop, write)
    with pytest.raises(Refused, match="nonsense"):
        await fault.apply(LockParameters(table="nonsense"), {})
    await fault.undo(parameters, {})


async def a_replica_stands_still_and_catches_up(workshop, primary: Server, replica: Server) -> None:
    fault = PauseReplay(replica)
    await fault.apply(Parameters(), {})
    await statements(workshop, "delete from items")
    await asyncio.sleep(0.5)
    assert await ask(workshop, "postgres-replica", "select count(*) from items") == 1000
    await fault.undo(Parameters(), {})
    for _ in range(200):
        if await ask(workshop, "postgres-replica", "select count(*) from items") == 0:
            break
        await asyncio.sleep(0.05)
    else:
        pytest.fail("the replica did not catch up")
    await fault.undo(Parameters(), {})


async def statements(workshop, sql: str) -> None:
    connection = await asyncpg.connect(
        host="127.0.0.1",
        port=workshop.ports["postgres"],
        user="signalbox",
        password=workshop.credentials["database_password"],
        database="signalbox",
    )
    try:
        await connection.execute(sql)
    finally:
        with suppress(OSError):
            await connection.close()
