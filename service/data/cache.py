"""Cache-aside in Valkey: look there first, else load and leave a copy that expires.

Owns keys, expiry, who loads, and what happens when the cache fails: the value is loaded from its source and the look-up
counts as an error. A cache that is slow, gone or holds rubbish costs time, never an answer. Knows nothing of what it
holds.

- One loads, the others wait: callers of one process share a load, and processes hold a short lease in Valkey. With
  Valkey gone the former still holds.
- A copy is loaded anew before it expires, by chance, the sooner the longer a load takes and the nearer the end is
  (XFetch, Vattani and others, VLDB 2015), while its reader is served. Copies made together do not expire together.
- That something is not there is remembered too, for a shorter time.
- A copy is kept only by who holds the lease: one whose load outlived it leaves nothing behind a newer copy.
- Keys carry a digest of the type's shape, so two versions of the service never read each other's copies; ``version``
  is for a change of meaning that the shape does not show.

Written here because the libraries that do all of it (cashews, aiocache) pickle values, add keys of their own or hold a
lock through every hit.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import random
import secrets
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import perf_counter, time
from typing import Generic, TypeVar

from pydantic import TypeAdapter
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from service import telemetry
from service.outbound import Breaker, CircuitOpen

# A look-up that takes longer than the database would is no help; one in the same rack takes under a millisecond.
TIMEOUT_S = 0.2
# Entries written together must not expire together.
TTL_JITTER_RATIO = 0.1
# A lease outlives any load that is worth waiting for, and a holder that died blocks nobody for longer.
LEASE_MS = 2000
WAIT_S = 0.5
WAIT_STEP_S = 0.02

# Before the JSON: form, end of life and cost of the load in milliseconds. Nothing after it: known not to be there.
_HEADER = struct.Struct(">BQI")
_FORM = 2

_KEEP = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return redis.call('DEL', KEYS[2])
"""

_FAILURES = (RedisError, OSError, CircuitOpen)

T = TypeVar("T")
Load = Callable[[], Awaitable[T | None]]


@dataclass(frozen=True, slots=True)
class _Copy(Generic[T]):
    value: T | None
    expires_s: float  # since the epoch
    load_s: float

    def due(self) -> bool:
        return time() - self.load_s * math.log(1 - random.random()) >= self.expires_s


def build_cache_client(url: str, *, pool_size: int) -> Redis:
    """A client that gives up after ``TIMEOUT_S`` and does not try again: the database is the second try.

    Whoever finds no free connection waits that long for one. The client's stock pool would refuse at once, and send a
    crowd to the database at the very moment when there is a crowd.
    """
    return Redis.from_pool(
        BlockingConnectionPool.from_url(
            url,
            max_connections=pool_size,
            timeout=TIMEOUT_S,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )
    )


class Cache(Generic[T]):
    """Values of one type under one name."""

    def __init__(
        self, client: Redis, name: str, kind: type[T], *, ttl_s: float, absent_ttl_s: float, version: int = 1
    ) -> None:
        self._client = client
        self._adapter = TypeAdapter(kind)
        shape = hashlib.sha256(repr(self._adapter.json_schema()).encode()).hexdigest()[:8]
        self._prefix = f"{name}:v{version}.{_FORM}.{shape}:"
        self._ttl_s = ttl_s
        self._absent_ttl_s = absent_ttl_s
        self._loading: dict[str, asyncio.Task[T | None]] = {}
        self._breaker = Breaker("cache")
        results, loads = telemetry.metrics.cache_requests, telemetry.metrics.cache_loads
        self._count = {result: results.labels(name, result) for result in ("hit", "absent", "miss", "joined", "error")}
        self._loads = {cause: loads.labels(name, cause) for cause in ("miss", "early", "error")}

    def entry(self, key: object) -> str:
        """Where the copy of ``key`` lies in Valkey."""
        return f"{self._prefix}{key}"

    async def get(self, key: object, load: Load[T]) -> T | None:
        """The value under ``key``; when the cache has none, what ``load`` returns, of which a copy is kept."""
        entry = self.entry(key)
        try:
            copy = await self._look(entry)
        except _FAILURES:
            self._count["error"].inc()
            return await self._shared(entry, lambda: self._load("error", load))
        if copy is None:
            self._count["joined" if entry in self._loading else "miss"].inc()
            return await self._shared(entry, lambda: self._fill(entry, load))
        self._count["absent" if copy.value is None else "hit"].inc()
        if copy.due() and entry not in self._loading:
            self._start(entry, lambda: self._refresh(entry, copy.value, load))
        return copy.value

    # loading

    async def _shared(self, entry: str, work: Load[T]) -> T | None:
        """What ``work`` returns, done once for all who ask for ``entry`` meanwhile; none of them can cancel it."""
        return await asyncio.shield(self._loading.get(entry) or self._start(entry, work))

    def _start(self, entry: str, work: Load[T]) -> asyncio.Task[T | None]:
        async def run() -> T | None:
            try:
                return await work()
            finally:
                del self._loading[entry]

        task = self._loading[entry] = asyncio.ensure_future(run())
        task.add_done_callback(_look_at_its_error)
        return task

    async def _fill(self, entry: str, load: Load[T]) -> T | None:
        try:
            lease = await self._take_lease(entry)
            if lease is None and (copy := await self._wait_for_another(entry)) is not None:
                return copy.value
        except _FAILURES:
            lease = None
        return await self._load("miss", load, entry, lease)

    async def _refresh(self, entry: str, value: T | None, load: Load[T]) -> T | None:
        try:
            lease = await self._take_lease(entry)
        except _FAILURES:
            return value
        return value if lease is None else await self._load("early", load, entry, lease)

    async def _load(self, cause: str, load: Load[T], entry: str = "", lease: str | None = None) -> T | None:
        """Ask the source, and keep a copy where there is a lease to do so."""
        self._loads[cause].inc()
        started = perf_counter()
        try:
            value = await load()
        except BaseException:
            if lease is not None:
                await self._give_up(entry)
            raise
        if lease is not None:
            await self._keep(entry, lease, value, perf_counter() - started)
        return value

    async def _wait_for_another(self, entry: str) -> _Copy[T] | None:
        """The copy that somebody else is loading; None when it takes too long."""
        for _ in range(round(WAIT_S / WAIT_STEP_S)):
            await asyncio.sleep(WAIT_STEP_S)
            if (copy := await self._look(entry)) is not None:
                return copy
        return None

    # Valkey

    async def _look(self, entry: str) -> _Copy[T] | None:
        with self._breaker.call(RedisError, OSError):
            raw = await self._client.get(entry)
        if raw is None:
            return None
        try:
            return self._read(raw)  # type: ignore[arg-type]  # bytes, since the client decodes nothing
        except (struct.error, ValueError):  # somebody else's, or damaged: it will be overwritten
            self._count["error"].inc()
            return None

    def _read(self, raw: bytes) -> _Copy[T]:
        form, expires_ms, load_ms = _HEADER.unpack_from(raw)
        if form != _FORM:
            raise ValueError("not a copy of this form")
        body = raw[_HEADER.size :]
        return _Copy(self._adapter.validate_json(body) if body else None, expires_ms / 1000, load_ms / 1000)

    async def _take_lease(self, entry: str) -> str | None:
        token = secrets.token_hex(8)
        with self._breaker.call(RedisError, OSError):
            return token if await self._client.set(_lease(entry), token, nx=True, px=LEASE_MS) else None

    async def _give_up(self, entry: str) -> None:
        """Let the next one try. The lease may be another's by now, who then merely leaves no copy."""
        try:
            with self._breaker.call(RedisError, OSError):
                await self._client.delete(_lease(entry))
        except _FAILURES:
            self._count["error"].inc()

    async def _keep(self, entry: str, lease: str, value: T | None, load_s: float) -> None:
        ttl_s = self._absent_ttl_s if value is None else self._ttl_s
        ttl_s *= random.uniform(1 - TTL_JITTER_RATIO, 1 + TTL_JITTER_RATIO)
        header = _HEADER.pack(_FORM, round((time() + ttl_s) * 1000), math.ceil(load_s * 1000))
        copy = header + (b"" if value is None else self._adapter.dump_json(value))
        try:
            with self._breaker.call(RedisError, OSError):
                await self._client.eval(_KEEP, 2, entry, _lease(entry), lease, copy, round(ttl_s * 1000))
        except _FAILURES:
            self._count["error"].inc()


def _lease(entry: str) -> str:
    return f"{entry}:lease"


def _look_at_its_error(task: asyncio.Task[object]) -> None:
    if not task.cancelled():
        task.exception()  # whoever waits is told; a refresh that nobody waits for may fail in peace
