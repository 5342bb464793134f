"""The schema's history. ``apply`` brings a database up to date; each version is a file in ``versions``.

Owns every table there is, the queue's included. Repositories name the columns that they use; nothing else creates or
alters a table.

A new version is a new file in ``versions`` with the next number, whose ``down_revision`` names the one before. Versions
are applied while the service runs, old and new side by side, so what changes and what goes away are two versions:

- **expand** (the default) adds. What runs now must not notice; what is deployed next may use it.
- **contract** (``phase = "contract"`` in the file) takes away or forbids. It is for when nothing that runs needs what
  goes. ``apply`` therefore stops before contracts that are the last versions, until it is asked for them: after the
  roll-out, or with the first expansion of the next release.

docs/migrations.md has the rules of both and an example. No statement may wait long for a lock, since everybody else
then queues up behind it: it gives up after ``LOCK_TIMEOUT`` and is tried again. A version that was interrupted is begun
again, so a version is either one transaction or repeatable statement by statement.
"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from time import monotonic

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from service import telemetry

# Any number will do, as long as nothing else in the database locks the same one.
_ADVISORY_LOCK = 5_130_020_401
# Readers and writers that come after a waiting ALTER TABLE wait as well: about what they would not notice.
LOCK_TIMEOUT = "500ms"
ATTEMPTS = 20
PAUSE_S = 1.0
TURN_S = 0.2
_LOCK_NOT_AVAILABLE, _DEADLOCK = "55P03", "40P01"


async def apply(database_url: str, *, contract: bool = False) -> None:
    """Apply what is missing, the last contracts only if asked to. Each version is a span, and a line when it is done.

    Safe to run twice at once: the second waits for the first, and finds nothing to do. Raises ``DBAPIError`` when a
    version cannot have its lock in ``ATTEMPTS`` tries.
    """
    engine = create_async_engine(database_url, poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            await _take_turn(connection)
            await connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))
            versions = await connection.run_sync(_missing, contract)
            await connection.commit()
            for version in versions:
                with telemetry.span("migrations.apply", attributes={"migration.version": version}):
                    await _apply(connection, version)
    finally:
        await engine.dispose()


async def _apply(connection: AsyncConnection, version: str) -> None:
    began = monotonic()
    for retries in range(ATTEMPTS):
        try:
            await connection.run_sync(_upgrade, version)
            await connection.commit()
            break
        except DBAPIError as error:
            sqlstate = getattr(error.orig, "sqlstate", None)
            if sqlstate not in (_LOCK_NOT_AVAILABLE, _DEADLOCK) or retries + 1 == ATTEMPTS:
                raise
            await connection.rollback()
            telemetry.event("migration.delayed", {"migration.version": version, "db.response.status_code": sqlstate})
            await asyncio.sleep(PAUSE_S * random.uniform(0.5, 1.5))
    told = {"migration.duration": round(monotonic() - began, 6), "migration.retries": retries}
    telemetry.event("migration.applied", {"migration.version": version, **told})


async def _take_turn(connection: AsyncConnection) -> None:
    """Wait for the lock of this session by asking again and again.

    Not inside one statement: that would hold a snapshot, for whose end a concurrent index build waits.
    """
    while True:
        taken = (await connection.execute(text(f"SELECT pg_try_advisory_lock({_ADVISORY_LOCK})"))).scalar_one()
        await connection.commit()  # the lock is the session's, and ends with it
        if taken:
            return
        await asyncio.sleep(TURN_S)


def build_config() -> Config:
    """Alembic's configuration, with no file beside the code."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.set_main_option("path_separator", "os")
    return config


def target(config: Config, *, contract: bool) -> str:
    """The version to come to: the newest, or the newest that is not one of the contracts at the end."""
    newest_first = ScriptDirectory.from_config(config).walk_revisions()
    return next(
        script.revision for script in newest_first if contract or getattr(script.module, "phase", "") != "contract"
    )


def _missing(connection: Connection, contract: bool) -> list[str]:
    """The versions to apply, in their order."""
    config = build_config()
    scripts, newest = ScriptDirectory.from_config(config), MigrationContext.configure(connection).get_current_revision()
    there = {script.revision for script in scripts.walk_revisions(head=newest)} if newest else set()
    wanted = scripts.walk_revisions(head=target(config, contract=contract))
    return [script.revision for script in wanted if script.revision not in there][::-1]


def _upgrade(connection: Connection, version: str) -> None:
    config = build_config()
    config.attributes["connection"] = connection
    command.upgrade(config, version)
