"""Connection pools to PostgreSQL: one to the primary, one to its read replica.

Owns their size and every time-out between a caller and a row. Knows no table.

A database that cannot be reached is ``DatabaseUnavailable``, which callers are told as 503; what else goes wrong is a
mistake of ours and stays what it is.

Writes go to the primary, in transactions. Reads go to the replica, each its own statement in autocommit: a single
round trip. When the replica cannot be reached a read is asked of the primary instead. A replica lags, so a caller
that must see what was just written uses ``read_primary``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

from sqlalchemy import Executable, Row, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from service.errors import Unavailable

# From the outside in, each bound above what it waits for: the server gives up a statement after 5 s, the client a
# second later in case the server is gone; a connection is made within 3 s; nobody queues longer than 2 s for one.
ACQUIRE_TIMEOUT_S = 2.0
CONNECT_TIMEOUT_S = 3.0
STATEMENT_TIMEOUT_S = 5.0
COMMAND_TIMEOUT_S = STATEMENT_TIMEOUT_S + 1.0
IDLE_IN_TRANSACTION_TIMEOUT_S = 10.0

# SQLSTATE classes of a server that cannot be talked to: connection exceptions, and start-up, shut-down or recovery
# (https://www.postgresql.org/docs/current/errcodes-appendix.html).
_UNREACHABLE = ("08", "57P")


def build_engine(url: str, *, pool_size: int, application_name: str) -> AsyncEngine:
    """A pool of at most ``pool_size`` connections. Opens none before one is asked for.

    There is no ping before each use, which would double the round trips of a read: when the server goes away, the
    first statement to notice fails, and the pool throws away every connection that it had until then.
    """
    return create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=ACQUIRE_TIMEOUT_S,
        connect_args={
            "timeout": CONNECT_TIMEOUT_S,
            "command_timeout": COMMAND_TIMEOUT_S,
            "server_settings": {
                "application_name": application_name,
                "statement_timeout": f"{STATEMENT_TIMEOUT_S:.0f}s",
                "idle_in_transaction_session_timeout": f"{IDLE_IN_TRANSACTION_TIMEOUT_S:.0f}s",
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

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """A transaction on the primary: committed when the block ends, rolled back when it raises."""
        with _telling_unavailable():
            async with self._primary.begin() as connection:
                yield connection

    async def read(self, statement: Executable) -> Sequence[Row[Any]]:
        """Rows of ``statement`` as the replica has them, or as the primary has them when the replica is away."""
        if self._replica_reads is not None:
            with suppress(DatabaseUnavailable):
                return await _read(self._replica_reads, statement)
        return await _read(self._primary_reads, statement)

    async def read_primary(self, statement: Executable) -> Sequence[Row[Any]]:
        """Rows of ``statement`` as of now."""
        return await _read(self._primary_reads, statement)

    async def ping_primary(self) -> None:
        """Raise when the primary does not answer."""
        await self.read_primary(text("SELECT 1"))

    async def dispose(self) -> None:
        """Close every connection."""
        await self._primary.dispose()
        if self._replica is not None:
            await self._replica.dispose()


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
