"""Connection pools to PostgreSQL: one to the primary, one to its read replica.

Owns their size and every time-out between a caller and a row. Knows no table.

A database that cannot be reached is ``DatabaseUnavailable``, which callers are told as 503; what else goes wrong is a
mistake of ours and stays what it is.

Writes go to the primary, in transactions. Reads go to the replica, each its own statement in autocommit: a single
round trip. ``data.replica`` says when a read goes to the primary instead: the replica is away or too far behind, or
its caller has just written. What must not be old whoever asks uses ``read_primary``.

How long anything may take is bounded four times, each above what it waits for, and all of it by the deadline of the
request or job (``service.deadline``), which cancels the statement on the server.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Executable, Row, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from service import telemetry
from service.data.leaks import ConnectionLeaks
from service.data.replica import TIMEOUT_S as REPLICA_TIMEOUT_S
from service.data.replica import Replica, own_writes
from service.errors import Unavailable


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a caller waits for a free connection, a new one to be made, the server with a statement, and a
    transaction for its next statement. Seconds; the settings of these names have the defaults.
    """

    acquire_s: float = 2.0
    connect_s: float = 3.0
    statement_s: float = 5.0
    idle_in_transaction_s: float = 10.0

    @property
    def command_s(self) -> float:
        """The client waits a little longer than the server works, in case the server is gone."""
        return self.statement_s + 1.0


# SQLSTATEs of a server that cannot do it now: connection exceptions, idle in transaction for too long, a password just
# being changed, no connections left, cancelled for its time-out, start-up, shut-down; on a replica, in the way of
# what is replayed; a transaction undone because it and another waited for each other, which may be tried again
# (https://www.postgresql.org/docs/current/errcodes-appendix.html).
_UNREACHABLE = ("08", "25P03", "28", "40001", "40P01", "53", "57")

# A probe has one second for all; a primary that has said nothing by then does not keep the replica from being asked.
PING_REPLICA_AFTER_S = 0.4

Password = Callable[[], Awaitable[str]]


def build_engine(
    url: str,
    *,
    pool_size: int,
    application_name: str,
    timeouts: Timeouts = Timeouts(),
    password: Password | None = None,
) -> AsyncEngine:
    """A pool of at most ``pool_size`` connections. Opens none before one is asked for.

    ``password`` is asked for every new connection, and goes before the one in ``url``: so it can be changed while the
    pool is in use. Connections that there are stay.

    There is no ping before each use, which would double the round trips of a read: when the server goes away, the
    first statement to notice fails, and the pool throws away every connection that it had until then.
    """
    return create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=timeouts.acquire_s,
        connect_args={
            **({"password": password} if password else {}),
            "timeout": timeouts.connect_s,
            "command_timeout": timeouts.command_s,
            "server_settings": {
                "application_name": application_name,
                "statement_timeout": f"{timeouts.statement_s * 1000:.0f}",
                "idle_in_transaction_session_timeout": f"{timeouts.idle_in_transaction_s * 1000:.0f}",
                "jit": "off",  # compiling a statement that runs for a millisecond costs more than it saves
            },
        },
    )


class DatabaseUnavailable(Unavailable):
    """The database cannot be reached, or has no connection left."""

    kind = "database-unavailable"


class Databases:
    """The primary and, where there is one, its replica."""

    def __init__(self, primary: AsyncEngine, replica: AsyncEngine | None = None) -> None:
        self._primary = primary
        self._replica = replica
        # the same pools; a statement on these is its own transaction
        self._primary_reads = primary.execution_options(isolation_level="AUTOCOMMIT")
        self._replica_reads = replica and replica.execution_options(isolation_level="AUTOCOMMIT")
        self._standby = Replica(self.position, self._replayed)
        reads = telemetry.metrics.db_reads
        self._count = {reason: reads.labels("primary", reason) for reason in ("own-write", "lag", "away")}
        self._count_replica = reads.labels("replica", "")
        self._watching: asyncio.Task[None] | None = None
        self._leaks = ConnectionLeaks(primary)

    def start(self) -> None:
        """Begin to watch the replica; until then no read goes there. Needs the running event loop."""
        if self._replica is not None:
            self._watching = asyncio.create_task(self._standby.watch())

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """A transaction on the primary: committed when the block ends, rolled back when it raises."""
        writes = own_writes.get()
        if writes is not None:
            writes.written = True
        self._leaks.strike()
        with _telling_unavailable():
            async with self._primary.begin() as connection:
                yield connection

    async def read(self, statement: Executable) -> Sequence[Row[Any]]:
        """Rows of ``statement`` from the replica where that will do, else from the primary."""
        if self._replica_reads is None:
            return await _read(self._primary_reads, statement)
        reason = self._standby.refuses()
        if reason is None:
            try:
                async with asyncio.timeout(REPLICA_TIMEOUT_S):
                    rows = await _read(self._replica_reads, statement)
                self._count_replica.inc()
                return rows
            except (DatabaseUnavailable, TimeoutError):
                self._standby.failed()
                reason = "away"
        self._count[reason].inc()
        return await _read(self._primary_reads, statement)

    async def read_primary(self, statement: Executable) -> Sequence[Row[Any]]:
        """Rows of ``statement`` as of now."""
        return await _read(self._primary_reads, statement)

    async def position(self) -> int:
        """Where the primary's log ends now, as a number of bytes: all that was committed so far lies before it."""
        return int((await self.read_primary(_END_OF_LOG))[0].position)

    async def ping_primary(self) -> None:
        """Raise when the primary does not answer."""
        await self.read_primary(_ONE)

    async def ping(self) -> None:
        """Raise when neither the primary nor a replica answers: with either there is work that can be done.

        The primary is the same for all processes: were it asked alone, all of them would be out at once without it.
        """
        primary = asyncio.create_task(self.ping_primary())
        try:
            await asyncio.wait([primary], timeout=PING_REPLICA_AFTER_S)
            if self._replica_reads is None or (primary.done() and not primary.exception()):
                await primary
            else:
                await _read(self._replica_reads, _ONE)
        finally:
            primary.cancel()
            await asyncio.gather(primary, return_exceptions=True)

    async def dispose(self) -> None:
        """Close every connection."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        await self._primary.dispose()
        if self._replica is not None:
            await self._replica.dispose()

    async def _replayed(self) -> int:
        assert self._replica_reads is not None
        return int((await _read(self._replica_reads, _REPLAYED))[0].position)


_ONE = text("SELECT 1")
_END_OF_LOG = text("SELECT (pg_current_wal_lsn() - '0/0')::bigint AS position")
# a replica that was promoted replays nothing, and is not behind
_REPLAYED = text(
    """
    SELECT (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END
            - '0/0')::bigint AS position
    """
)


async def _read(engine: AsyncEngine, statement: Executable) -> Sequence[Row[Any]]:
    with _telling_unavailable():
        async with engine.connect() as connection:
            return (await connection.execute(statement)).all()


@contextmanager
def _telling_unavailable() -> Iterator[None]:
    try:
        yield
    except (OSError, PoolTimeoutError) as error:  # refused, reset, timed out; or none free in time
        raise DatabaseUnavailable("the database cannot be reached") from error
    except DBAPIError as error:
        sqlstate = str(getattr(error.orig, "sqlstate", None))
        if error.connection_invalidated or sqlstate.startswith(_UNREACHABLE):
            raise DatabaseUnavailable("the database cannot be reached") from error
        raise
