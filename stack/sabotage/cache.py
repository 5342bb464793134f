"""A fault of the cache: it forgets, again and again.

Owns one command to Valkey. Knows nothing of what is kept there. Its client is loaded when the fault is used first: most
stacks never use it, and it would be memory in every one.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from stack.sabotage.fault import Parameters, Record, Refused

if TYPE_CHECKING:
    from redis.asyncio import Redis

TIMEOUT_S = 2.0


class FlushParameters(Parameters):
    """How often."""

    every_ms: int = Field(default=500, ge=50, le=60_000)


class FlushCache:
    """Everything in Valkey is thrown away every `every_ms`, as by a restart loop or a memory limit far too small."""

    name: ClassVar[str] = "flush-cache"
    description: ClassVar[str] = "the cache loses everything it holds, every `every_ms`"
    parameters: ClassVar[type[Parameters]] = FlushParameters

    def __init__(self, url: str) -> None:
        self._url = url
        self._flusher: asyncio.Task[None] | None = None

    async def plan(self, parameters: FlushParameters) -> Record:
        return {}

    async def apply(self, parameters: FlushParameters, record: Record) -> None:
        from redis.asyncio import Redis
        from redis.exceptions import RedisError

        client = Redis.from_url(self._url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S)
        try:
            await client.flushdb()
        except (RedisError, OSError) as error:
            await client.aclose()
            raise Refused(f"Valkey does not answer ({type(error).__name__}). See `signalbox status`") from None
        self._flusher = asyncio.create_task(self._flush(client, parameters.every_ms / 1000))

    async def undo(self, parameters: FlushParameters, record: Record) -> None:
        flusher, self._flusher = self._flusher, None
        if flusher is not None:
            flusher.cancel()
            await asyncio.wait({flusher})

    async def _flush(self, client: Redis, every_s: float) -> None:
        from redis.exceptions import RedisError

        try:
            while True:
                await asyncio.sleep(every_s)
                with suppress(RedisError, OSError):
                    await client.flushdb()
        finally:
            with suppress(Exception):
                await client.aclose()
