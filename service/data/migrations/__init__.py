"""The schema's history. ``apply`` brings a database up to date; each version is a file in ``versions``.

Owns every table there is, the queue's included. Repositories name the columns that they use; nothing else creates or
alters a table.

A new version is a new file in ``versions`` with the next number, whose ``down_revision`` names the one before.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

# Any number will do, as long as nothing else in the database locks the same one.
_ADVISORY_LOCK = 5_130_020_401


async def apply(database_url: str) -> None:
    """Apply what is missing. Safe to run twice at once: the second waits for the first, and finds nothing to do."""
    engine = create_async_engine(database_url, poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            await connection.execute(text(f"SELECT pg_advisory_lock({_ADVISORY_LOCK})"))
            await connection.commit()  # the lock is the session's, and ends with it
            await connection.run_sync(_upgrade)
            await connection.commit()
    finally:
        await engine.dispose()


def build_config() -> Config:
    """Alembic's configuration, with no file beside the code."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.set_main_option("path_separator", "os")
    return config


def _upgrade(connection: Connection) -> None:
    config = build_config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
