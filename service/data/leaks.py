"""Connections that a defect takes and does not give back, until the fault of that name ends.

Owns the holding. Whether a request is struck, ``service.faults`` decides.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from service.faults import CONNECTION_LEAK, on_end, struck


class ConnectionLeaks:
    """The leaked connections of one pool."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._ended: asyncio.Event | None = None
        self._holders: set[asyncio.Task[None]] = set()

    def strike(self) -> None:
        """Take one more when the present request is struck, up to the fault's ``count``; an empty pool gives none."""
        leak = struck(CONNECTION_LEAK)
        if leak is None or len(self._holders) >= leak.count:
            return
        if self._ended is None or self._ended.is_set():
            self._ended = asyncio.Event()
            on_end(CONNECTION_LEAK, self._ended.set)
        holder = asyncio.create_task(self._hold(self._ended))
        self._holders.add(holder)
        holder.add_done_callback(self._holders.discard)

    async def _hold(self, ended: asyncio.Event) -> None:
        with suppress(SQLAlchemyError, OSError):
            async with self._engine.connect():
                await ended.wait()
