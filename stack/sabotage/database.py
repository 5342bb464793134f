"""Faults of PostgreSQL, done as its superuser: a dropped index, a held lock, a replica whose replay is paused.

Owns their statements. Knows nothing of the service but the names it is given.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, ClassVar, Literal

import asyncpg
from pydantic import Field

from stack.sabotage.fault import Parameters, Record, Refused

CONNECT_TIMEOUT_S = 3.0
LOCK_TIMEOUT_S = 5.0  # a fault must not wait behind the traffic that it is to disturb
_IDENTIFIER = r"^[a-z_][a-z0-9_]*$"


class Server:
    """One PostgreSQL server, reached as its superuser."""

    def __init__(self, address: str, password: str, database: str = "signalbox") -> None:
        """`address`: host:port."""
        self._address, self._password, self._database = address, password, database

    async def connect(self) -> asyncpg.Connection:
        """A connection of one's own. Raises Refused when there is none to be had."""
        host, _, port = self._address.rpartition(":")
        try:
            connection: asyncpg.Connection = await asyncpg.connect(
                host=host,
                port=int(port),
                user="postgres",
                password=self._password,
                database=self._database,
                ssl=False,
                timeout=CONNECT_TIMEOUT_S,
                server_settings={"application_name": "signalbox-faults"},
            )
        except (OSError, TimeoutError, asyncpg.PostgresError) as error:
            raise Refused(
                f"PostgreSQL at {self._address} cannot be reached ({error}). See `signalbox status`"
            ) from None
        return connection

    async def rows(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """The rows of one statement over a connection of its own."""
        connection = await self.connect()
        try:
            rows: list[asyncpg.Record] = await connection.fetch(query, *arguments)
            return rows
        finally:
            await connection.close()

    async def run(self, statements: list[str]) -> None:
        """Statements in one transaction that gives up rather than wait long for a lock. Raises Refused."""
        connection = await self.connect()
        try:
            async with connection.transaction():
                await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_S:g}s'")
                for statement in statements:
                    await connection.execute(statement)
        except asyncpg.PostgresError as error:
            raise Refused(f"PostgreSQL refuses: {error}. Try again") from None
        finally:
            await connection.close()


class IndexParameters(Parameters):
    """Which index: its name, in the schema `public`."""

    index: str = Field(pattern=_IDENTIFIER)


# What the index carries: the constraint it belongs to, and the foreign keys of others that lean on it.
_CONSTRAINTS = """
    SELECT c.conname AS name, c.conrelid::regclass::text AS of, pg_get_constraintdef(c.oid) AS definition
    FROM pg_constraint c WHERE c.conindid = $1::regclass ORDER BY c.contype = 'f' DESC, c.conname
"""
_NAMES = "SELECT conrelid::regclass::text AS of, conname AS name FROM pg_constraint"
_INDEX = "SELECT pg_get_indexdef(to_regclass($1)) AS definition"


class DropIndex:
    """Drops an index, with the constraints that need it; undoing builds them again from their own definitions."""

    name: ClassVar[str] = "drop-index"
    description: ClassVar[str] = "an index is dropped (`index`); it is built again when the fault ends"
    parameters: ClassVar[type[Parameters]] = IndexParameters

    def __init__(self, server: Server) -> None:
        self._server = server

    async def plan(self, parameters: IndexParameters) -> Record:
        found = await self._server.rows(_INDEX, parameters.index)
        if not found or found[0]["definition"] is None:
            raise Refused(f"there is no index {parameters.index!r}. See pg_indexes for the names")
        constraints = [dict(row) for row in await self._server.rows(_CONSTRAINTS, parameters.index)]
        return {"definition": found[0]["definition"], "constraints": constraints}

    async def apply(self, parameters: IndexParameters, record: Record) -> None:
        drops = [f'ALTER TABLE {one["of"]} DROP CONSTRAINT "{one["name"]}"' for one in record["constraints"]]
        await self._server.run(drops or [f'DROP INDEX "{parameters.index}"'])

    async def undo(self, parameters: IndexParameters, record: Record) -> None:
        """Once more does no harm: what is there already is left alone."""
        constraints = record["constraints"]
        if not constraints:
            create = record["definition"].replace("INDEX", "INDEX IF NOT EXISTS", 1)
            await self._server.run([create])
            return
        there = {(row["of"], row["name"]) for row in await self._server.rows(_NAMES)}
        adds = [
            f'ALTER TABLE {one["of"]} ADD CONSTRAINT "{one["name"]}" {one["definition"]}'
            for one in reversed(constraints)  # the key itself before those that refer to it
            if (one["of"], one["name"]) not in there
        ]
        if adds:
            await self._server.run(adds)


class LockParameters(Parameters):
    """Which table, and how much of it: `rows` lets readers pass, `table` nobody."""

    table: str = Field(pattern=_IDENTIFIER)
    mode: Literal["rows", "table"] = "rows"


_MODES = {"rows": "EXCLUSIVE", "table": "ACCESS EXCLUSIVE"}


class HoldLock:
    """A transaction that takes a lock and then does nothing, as a forgotten console or a migration does."""

    name: ClassVar[str] = "hold-lock"
    description: ClassVar[str] = "a transaction holds a lock on `table` and stays; writers wait (`mode` rows or table)"
    parameters: ClassVar[type[Parameters]] = LockParameters

    def __init__(self, server: Server) -> None:
        self._server = server
        self._connection: asyncpg.Connection | None = None

    async def plan(self, parameters: LockParameters) -> Record:
        return {}

    async def apply(self, parameters: LockParameters, record: Record) -> None:
        connection = self._connection = await self._server.connect()
        try:
            await connection.execute(f"BEGIN; SET LOCAL lock_timeout = '{LOCK_TIMEOUT_S:g}s'")
            await connection.execute(f'LOCK TABLE "{parameters.table}" IN {_MODES[parameters.mode]} MODE')
        except asyncpg.PostgresError as error:
            raise Refused(f"PostgreSQL refuses: {error}. Try again") from None

    async def undo(self, parameters: LockParameters, record: Record) -> None:
        """The lock lives no longer than its connection, which does not outlive this process either."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Exception):
                await connection.close(timeout=2)


class PauseReplay:
    """The replica receives but does not replay: it answers, from an ever older past."""

    name: ClassVar[str] = "pause-replay"
    description: ClassVar[str] = "the read replica stops replaying what it receives; its answers grow old"
    parameters: ClassVar[type[Parameters]] = Parameters

    def __init__(self, replica: Server) -> None:
        self._replica = replica

    async def plan(self, parameters: Parameters) -> Record:
        return {}

    async def apply(self, parameters: Parameters, record: Record) -> None:
        await self._ask("SELECT pg_wal_replay_pause()")

    async def undo(self, parameters: Parameters, record: Record) -> None:
        await self._ask("SELECT pg_wal_replay_resume()")

    async def _ask(self, query: str) -> Any:
        try:
            return await self._replica.rows(query)
        except asyncpg.PostgresError as error:
            raise Refused(f"the replica refuses: {error}") from None
