"""The connection over which a worker listens to the queue: one of asyncpg's, outside the pools, for its whole life."""

from __future__ import annotations

import asyncpg

from service.data.dsn import asyncpg_dsn
from service.data.engines import Password, Timeouts

# Longer than any of PgQueuer's statements takes.
COMMAND_TIMEOUT_S = 10.0


async def connect(database_url: str, application_name: str, password: Password | None = None) -> asyncpg.Connection:
    """A new connection; ``database_url`` is SQLAlchemy's. ``password`` stands before the one in it."""
    secret = {"password": password} if password else {}
    return await asyncpg.connect(
        asyncpg_dsn(database_url),
        **secret,
        timeout=Timeouts().connect_s,
        command_timeout=COMMAND_TIMEOUT_S,
        server_settings={"application_name": application_name},
    )


async def close(connection: asyncpg.Connection) -> None:
    """Close it, within a second whatever the server does."""
    try:
        await connection.close(timeout=1)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        connection.terminate()
