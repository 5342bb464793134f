"""Connection pools to PostgreSQL: one to the primary, one to each of its read replicas.

Owns their size and every time-out between a caller and a row. Knows no table.

A database that cannot be reached is ``DatabaseUnavailable``, which callers are told as 503; what else goes wrong is a
mistake of ours and stays what it is.

Writes go to the primary, in transactions. Reads go to the replicas in turn, each its own statement in autocommit: a
single round trip. ``data.replica`` says when a read goes to the primary instead: no replica is there or all are too far
behind, or its caller has just written. So does a read that its replica takes too long for. What must not be old whoever
asks uses ``read_primary``.

How long anything may take is bounded four times, and all of it by the deadline of the request or job
(``service.deadline``), which cancels the statement on the server. A primary that cannot be reached is left alone by a
circuit breaker, and callers are told at once; that it is slow, that a lock or the pool is taken, opens nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Executable, Row, event, text
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from service import telemetry
from service.data.leaks import ConnectionLeaks
from service.data.replica import TIMEOUT_S as REPLICA_TIMEOUT_S
from service.data.replica import Reason, Replica, own_writes, watch
from service.errors import Unavailable
from service.outbound import OPEN_S, Breaker, CircuitOpen


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a caller waits for a free connection, a new one to be made, the server with a statement, and a
    transaction for its next statement. Seconds; the settings of these names have the defaults.
    """

    acquire_s: float = 2.0
    connect_s: float = 1.5  # less than the most hurried caller waits (payments' two seconds), or nobody ever learns
    statement_s: float = 5.0
    idle_in_transaction_s: float = 10.0

    @property
    def command_s(self) -> float:
        """The client waits a little longer than the server works, in case the server is gone."""
        return self.statement_s + 1.0


# SQLSTATEs of a server that is there and cannot do it now: idle in transaction for too long, a password just being
# changed, no connections left, cancelled for its time-out; on a replica, in the way of what is replayed; a transaction
# undone because it and another waited for each other, which may be tried again
# (https://www.postgresql.org/docs/current/errcodes-appendix.html).
_BUSY = ("25P03", "28", "40001", "40P01", "53", "57014")
# And of one that is not: connection exceptions, start-up, shut-down; or not any more what it was, a primary.
_READ_ONLY = "25006"
_UNREACHABLE = ("08", _READ_ONLY, "57")

# A probe has one second for all; a primary that has said nothing by then does not keep the replica from being asked.
PING_REPLICA_AFTER_S = 0.4

CLOSE_TIMEOUT_S = 1.0
# Rows that one statement deletes at most when old ones are cleared away: it ends long before its time-out.
PIECE = 10_000

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
    engine = create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=timeouts.acquire_s,
        connect_args={
            **({"password": password} if password else {}),
            "timeout": timeouts.connect_s,
            "command_timeout": timeouts.command_s,
            "server_settings": server_settings(application_name, timeouts),
        },
    )
    event.listen(engine.sync_engine, "handle_error", _let_go)
    return engine


def server_settings(application_name: str, timeouts: Timeouts) -> dict[str, str]:
    """What the server is told of each connection when it is made."""
    return {
        "application_name": application_name,
        "statement_timeout": f"{timeouts.statement_s * 1000:.0f}",
        "idle_in_transaction_session_timeout": f"{timeouts.idle_in_transaction_s * 1000:.0f}",
        "jit": "off",  # compiling a statement that runs for a millisecond costs more than it saves
        # A client that vanished without a word, and its locks, are let go of after a minute, not after two hours.
        "tcp_keepalives_idle": "30",
        "tcp_keepalives_interval": "10",
        "tcp_keepalives_count": "3",
    }


def _let_go(context: ExceptionContext) -> None:
    """Have the pool make its connections anew where those that it has are of no more use."""
    if isinstance(context.original_exception, TimeoutError) and context.connection is not None:
        # A server that does not even say that a statement took too long will not say anything to a ROLLBACK either.
        connection = context.connection.connection.driver_connection
        assert connection is not None
        connection.terminate()
        context.is_disconnect = True
    elif getattr(context.original_exception, "sqlstate", None) == _READ_ONLY:
        context.is_disconnect = True  # the address leads to another server by now


class DatabaseUnavailable(Unavailable):
    """The database cannot be asked, or cannot do it now. Raised as it is: it answered, or was not asked at all."""

    kind = "database-unavailable"
    reason = "busy"


class DatabaseUnreachable(DatabaseUnavailable):
    """No connection to it can be made, or one that there was has ended."""

    reason = "unreachable"


class PoolExhausted(DatabaseUnavailable):
    """None of this process' own connections became free in time."""

    reason = "pool-exhausted"


class Standby:
    """A replica: the pool that reads go to, and beside it one connection over which it is looked at."""

    def __init__(self, name: str, reads: AsyncEngine, looks: AsyncEngine) -> None:
        self._reads, self._looks = _autocommit(reads), _autocommit(looks)
        self.state = Replica(name, self._replayed)
        self.answered = telemetry.metrics.db_reads.labels(name, "")

    async def read(self, statement: Executable) -> Sequence[Row[Any]]:
        """Rows of ``statement``."""
        with _telling_unavailable():
            async with self._reads.connect() as connection:
                return (await connection.execute(statement)).all()

    async def _replayed(self) -> int:
        async with self._looks.connect() as connection:
            return int((await connection.execute(_REPLAYED)).one().position)

    @property
    def pools(self) -> tuple[AsyncEngine, AsyncEngine]:
        return self._reads, self._looks


class Databases:
    """The primary and its replicas, of which there may be none."""

    def __init__(self, primary: AsyncEngine, standbys: Sequence[Standby] = ()) -> None:
        self._primary = primary
        self._primary_reads = _autocommit(primary)
        self._breaker = Breaker("postgres")
        self._standbys = deque(standbys)  # whose turn it is, first
        self._count = {reason: telemetry.metrics.db_reads.labels("primary", reason) for reason in _REASONS}
        self._watching: asyncio.Task[None] | None = None
        self._leaks = ConnectionLeaks(primary)

    def start(self) -> None:
        """Begin to watch the replicas; until then no read goes there. Needs the running event loop."""
        if self._standbys:
            replicas = [standby.state for standby in self._standbys]
            self._watching = asyncio.create_task(watch(self.position, replicas))

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """A transaction on the primary: committed when the block ends, rolled back when it raises."""
        writes = own_writes.get()
        if writes is not None:
            writes.written = True
        self._leaks.strike()
        with self._asking():
            async with self._primary.begin() as connection:
                yield connection

    async def read(self, statement: Executable) -> Sequence[Row[Any]]:
        """Rows of ``statement`` from a replica where that will do, else from the primary."""
        if not self._standbys:
            return await self.read_primary(statement)
        standby = self._next()
        if isinstance(standby, Standby):
            reason: Reason = "busy"
            try:
                async with asyncio.timeout(REPLICA_TIMEOUT_S):
                    rows = await standby.read(statement)
                standby.answered.inc()
                return rows
            except DatabaseUnreachable:
                standby.state.failed()
                reason = "away"
            except (DatabaseUnavailable, TimeoutError):  # a full pool, a statement in the way of what is replayed
                pass
        else:
            reason = standby
        self._count[reason].inc()
        return await self.read_primary(statement)

    def _next(self) -> Standby | Reason:
        """The next replica that may answer; when none may, why the one that comes closest may not."""
        closest: Reason = "away"
        for standby in tuple(self._standbys):
            self._standbys.rotate(-1)
            reason = standby.state.refuses()
            if reason is None:
                return standby
            closest = min(closest, reason, key=_REASONS.index)
        return closest

    async def delete_in_pieces(self, statement: Executable) -> None:
        """Run a deletion of at most ``PIECE`` rows until it finds fewer, each time in a transaction of its own."""
        found = PIECE
        while found >= PIECE:
            async with self.transaction() as connection:
                found = (await connection.execute(statement)).rowcount

    async def read_primary(self, statement: Executable) -> Sequence[Row[Any]]:
        """Rows of ``statement`` as of now."""
        with self._asking():
            async with self._primary_reads.connect() as connection:
                return (await connection.execute(statement)).all()

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Around whatever is asked of the primary."""
        try:
            with self._breaker.call(DatabaseUnreachable, unheard=(PoolExhausted,)), _telling_unavailable():
                yield
        except CircuitOpen as error:
            refusal = DatabaseUnavailable("the database could not be reached just now and was not asked")
            refusal.reason = "circuit-open"
            refusal.headers = {"Retry-After": f"{OPEN_S:.0f}"}
            raise refusal from error

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
            if not self._standbys or (primary.done() and not primary.exception()):
                await primary
            else:
                await _first_of(standby.read(_ONE) for standby in self._standbys)
        finally:
            primary.cancel()
            await asyncio.gather(primary, return_exceptions=True)

    async def dispose(self) -> None:
        """Close every connection, within ``CLOSE_TIMEOUT_S`` whatever the servers do."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        await asyncio.gather(
            *(_close(pool) for pool in (self._primary, *(one for s in self._standbys for one in s.pools)))
        )


# Why the primary got a read, from the least to the most that is wrong with the replicas.
_REASONS: tuple[Reason, ...] = ("own-write", "busy", "lag", "away")

_ONE = text("SELECT 1")
_END_OF_LOG = text("SELECT (pg_current_wal_lsn() - '0/0')::bigint AS position")
# a replica that was promoted replays nothing, and is not behind
_REPLAYED = text(
    """
    SELECT (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END
            - '0/0')::bigint AS position
    """
)


async def _close(pool: AsyncEngine) -> None:
    """What a silent server's connections say good-bye to is the end of this process."""
    with suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await pool.dispose()


def _autocommit(engine: AsyncEngine) -> AsyncEngine:
    """The same pool; a statement is its own transaction."""
    return engine.execution_options(isolation_level="AUTOCOMMIT")


async def _first_of(tries: Iterable[Coroutine[Any, Any, object]]) -> None:
    """Wait until one of them has succeeded. Raises what the last one raised when none has."""
    tasks = [asyncio.create_task(one) for one in tries]
    try:
        for number, done in enumerate(asyncio.as_completed(tasks), 1):
            try:
                await done
                return
            except DatabaseUnavailable:
                if number == len(tasks):
                    raise
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextmanager
def _telling_unavailable() -> Iterator[None]:
    try:
        yield
    except PoolTimeoutError as error:
        raise PoolExhausted("no connection to the database was free in time") from error
    except OSError as error:  # refused, reset; or not even a word that it takes too long
        raise DatabaseUnreachable("the database cannot be reached") from error
    except DBAPIError as error:
        sqlstate = str(getattr(error.orig, "sqlstate", None))
        if sqlstate.startswith(_BUSY):
            raise DatabaseUnavailable("the database cannot do it now") from error
        if error.connection_invalidated or sqlstate.startswith(_UNREACHABLE):
            raise DatabaseUnreachable("the database cannot be reached") from error
        raise
