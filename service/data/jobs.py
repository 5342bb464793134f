"""A person's look into the queue: which jobs there are, what happened to one, and what to do with dead letters.

Owns those statements. Changes only jobs that are parked, since the others are a worker's.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncpg

STATES = ("queued", "picked", "failed")

_LIST = """
    SELECT id, entrypoint AS queue, status::text AS state, priority, attempts, created, execute_after AS due,
           convert_from(payload, 'UTF8') AS payload
    FROM pgqueuer WHERE ($1::text IS NULL OR status::text = $1) AND ($2::text IS NULL OR entrypoint = $2)
    ORDER BY status = 'failed' DESC, priority DESC, id LIMIT $3
"""
_SHOW = """
    SELECT id, entrypoint AS queue, status::text AS state, priority, attempts, created, updated, heartbeat,
           execute_after AS due, convert_from(payload, 'UTF8') AS payload, headers
    FROM pgqueuer WHERE id = $1
"""
_HISTORY = "SELECT created AS at, status::text AS state, traceback FROM pgqueuer_log WHERE job_id = $1 ORDER BY id"
_PARKED = "SELECT id FROM pgqueuer WHERE status = 'failed' AND ($1::text IS NULL OR entrypoint = $1) ORDER BY id"
# A new life: no attempts, and no time by which it should have been done.
_REPLAY = """
    WITH changed AS (
        UPDATE pgqueuer SET status = 'queued', attempts = 0, execute_after = now(), updated = now(),
            queue_manager_id = NULL, headers = headers - 'deadline'
        WHERE id = ANY($1) AND status = 'failed' RETURNING id, entrypoint, priority
    )
    INSERT INTO pgqueuer_log (job_id, status, entrypoint, priority)
    SELECT id, 'queued', entrypoint, priority FROM changed RETURNING job_id
"""
_DISCARD = """
    WITH changed AS (
        DELETE FROM pgqueuer WHERE id = ANY($1) AND status = 'failed' RETURNING id, entrypoint, priority
    )
    INSERT INTO pgqueuer_log (job_id, status, entrypoint, priority)
    SELECT id, 'deleted', entrypoint, priority FROM changed RETURNING job_id
"""


async def list_jobs(
    connection: asyncpg.Connection, state: str | None, queue: str | None, limit: int
) -> list[dict[str, Any]]:
    """Jobs that are not done, dead letters first; of one of ``STATES`` and one queue, or of all."""
    return [dict(row) for row in await connection.fetch(_LIST, state, queue, limit)]


async def show_job(connection: asyncpg.Connection, job: int) -> dict[str, Any] | None:
    """All that is known of a job, done or not, with its history; None when that is nothing."""
    row = await connection.fetchrow(_SHOW, job)
    history = [_event(entry) for entry in await connection.fetch(_HISTORY, job)]
    if row is None and not history:
        return None
    seen = dict(row) if row is not None else {"id": job, "state": history[-1]["state"]}
    if "headers" in seen:
        seen["headers"] = json.loads(seen["headers"] or "{}")
    return {**seen, "history": history}


async def parked_jobs(connection: asyncpg.Connection, queue: str | None) -> list[int]:
    """Every dead letter, of one queue or of all."""
    return [row["id"] for row in await connection.fetch(_PARKED, queue)]


async def replay(connection: asyncpg.Connection, jobs: Sequence[int]) -> list[int]:
    """Have dead letters done after all; which of ``jobs`` were dead letters."""
    return [row["job_id"] for row in await connection.fetch(_REPLAY, list(jobs))]


async def discard(connection: asyncpg.Connection, jobs: Sequence[int]) -> list[int]:
    """Delete dead letters for good; which of ``jobs`` were dead letters."""
    return [row["job_id"] for row in await connection.fetch(_DISCARD, list(jobs))]


def _event(entry: asyncpg.Record) -> dict[str, Any]:
    event: dict[str, Any] = {"at": entry["at"], "state": entry["state"]}
    if entry["traceback"]:
        told = json.loads(entry["traceback"])
        reason = (told.get("additional_context") or {}).get("reason")
        event["error"] = reason or f"{told['exception_type']}: {told['exception_message']}"
    return event
