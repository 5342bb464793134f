"""Cache-aside in Valkey: look there first, else load and leave a copy that expires.

Owns keys, expiry and what happens when the cache fails: the value is loaded from its source and the look-up counts as
an error. A cache that is slow, gone or holds rubbish costs time, never an answer. Knows nothing of what it holds.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from pydantic import TypeAdapter, ValidationError
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from service import telemetry

# A look-up that takes longer than the database would is no help; one in the same rack takes under a millisecond.
TIMEOUT_S = 0.2
# Entries written together must not expire together.
TTL_JITTER_RATIO = 0.1

T = TypeVar("T")


def build_cache_client(url: str, *, pool_size: int) -> Redis:
    """A client that gives up after ``TIMEOUT_S`` and does not try again: the database is the second try."""
    return Redis.from_url(
        url,
        max_connections=pool_size,
        socket_timeout=TIMEOUT_S,
        socket_connect_timeout=TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
    )


class Cache(Generic[T]):
    """Values of one type under one name. Keys carry ``version``: raise it whenever the type's shape changes."""

    def __init__(self, client: Redis, name: str, kind: type[T], *, ttl_s: float, version: int = 1) -> None:
        self._client = client
        self._prefix = f"{name}:v{version}:"
        self._adapter = TypeAdapter(kind)
        self._ttl_s = ttl_s
        self._count = {
            result: telemetry.metrics.cache_requests.labels(name, result) for result in ("hit", "miss", "error")
        }

    async def get(self, key: object, load: Callable[[], Awaitable[T | None]]) -> T | None:
        """The value under ``key``; when the cache has none, what ``load`` returns, kept unless it is None."""
        entry = f"{self._prefix}{key}"
        try:
            raw = await self._client.get(entry)
        except (RedisError, OSError):
            self._count["error"].inc()
            return await load()  # and leave the cache alone, which would only fail again
        value = self._parse(raw)
        if value is None:
            value = await load()
            if value is not None:
                await self._keep(entry, value)
        return value

    def _parse(self, raw: bytes | str | None) -> T | None:
        if raw is None:
            self._count["miss"].inc()
            return None
        try:
            value = self._adapter.validate_json(raw)
        except ValidationError:  # somebody else's, or damaged: it will be overwritten
            self._count["error"].inc()
            return None
        self._count["hit"].inc()
        return value

    async def _keep(self, key: str, value: T) -> None:
        ttl_ms = self._ttl_s * 1000 * random.uniform(1 - TTL_JITTER_RATIO, 1 + TTL_JITTER_RATIO)
        try:
            await self._client.set(key, self._adapter.dump_json(value), px=round(ttl_ms))
        except (RedisError, OSError):
            self._count["error"].inc()
