"""The connection over which a worker listens to the queue: one of asyncpg's, outside the pools, for its whole life.

Owns how long it may take for anything. There is no ping: whoever has one asks the server every few seconds anyway, and
a question that gets no answer ends the connection.
"""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import replace
from typing import TypeVar

import asyncpg
from pgqueuer.db import AsyncpgDriver

from service.data.dsn import asyncpg_dsn
from service.data.engines import Password, Timeouts, server_settings

# Longer than any of PgQueuer's statements takes.
STATEMENT_TIMEOUT_S = 9.0

T = TypeVar("T")


async def connect(
    database_url: str, application_name: str, password: Password | None = None, timeouts: Timeouts = Timeouts()
) -> asyncpg.Connection:
    """A new connection; ``database_url`` is SQLAlchemy's. ``password`` stands before the one in it."""
    secret = {"password": password} if password else {}
    timeouts = replace(timeouts, statement_s=STATEMENT_TIMEOUT_S)
    return await asyncpg.connect(
        asyncpg_dsn(database_url),
        **secret,
        timeout=timeouts.connect_s,
        command_timeout=timeouts.command_s,
        server_settings=server_settings(application_name, timeouts),
    )


class QueueDriver(AsyncpgDriver):
    """PgQueuer's way to the connection. A server that does not answer in time is given up: all that PgQueuer still has
    to say would wait for as long, one after the other, and no other connection could take its place meanwhile. Nor is
    a job parked because it could not be put back: it is taken over once its heart stands still.
    """

    async def fetch(self, query: str, *args: object) -> list[dict[str, object]]:
        """As PgQueuer's."""
        return await self._answered(super().fetch(query, *args))

    async def execute(self, query: str, *args: object) -> str:
        """As PgQueuer's."""
        return await self._answered(super().execute(query, *args))

    async def _answered(self, answer: Awaitable[T]) -> T:
        try:
            return await answer
        except (TimeoutError, asyncpg.QueryCanceledError):
            self._connection.terminate()
            raise


async def close(connection: asyncpg.Connection) -> None:
    """Close it, within a second whatever the server does."""
    try:
        await connection.close(timeout=1)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        connection.terminate()
