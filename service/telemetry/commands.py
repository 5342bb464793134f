"""Commands through the redis client as client spans and durations; its pool as gauges and waiting time.

Keys and values are never recorded.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from time import perf_counter
from typing import Any

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.client import Pipeline as RedisPipeline
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import MaxConnectionsError

from service.telemetry import catalog
from service.telemetry.instruments import Instruments
from service.telemetry.pipeline import DatabaseShape, Hold, failed_call
from service.telemetry.spans import current_span, now_ns

_STATE = "db.client.connection.state"


def instrument_redis(client: Redis, pool_name: str, instruments: Instruments, hold: Hold) -> None:
    """Record every command, every pipeline and the pool of ``client`` under the name ``pool_name``. ``hold``:
    ``Pipeline.hold``."""
    _observe_commands(client, pool_name, instruments, hold)
    _observe_pool(client.connection_pool, pool_name, instruments)


def _observe_commands(client: Redis, pool_name: str, instruments: Instruments, hold: Hold) -> None:
    options = client.connection_pool.connection_kwargs
    address = {"server.address": options.get("host", ""), "server.port": options.get("port", 6379)}
    shapes: dict[str, DatabaseShape] = {}

    def shape_of(command: str) -> DatabaseShape:
        attributes = {
            "db.system.name": "redis",
            "db.operation.name": command,
            "db.client.connection.pool.name": pool_name,
            **address,
        }
        shapes[command] = shape = DatabaseShape(command, attributes, ("redis", pool_name, command), instruments)
        return shape

    async def recorded(command: str, call: Callable[[], Awaitable[Any]]) -> Any:
        parent = current_span()
        if parent is None:  # housekeeping that nobody asked to see
            return await call()
        shape = shapes.get(command) or shape_of(command)
        failed = None
        start_ns = now_ns()
        try:
            return await call()
        except Exception as exception:
            failed = failed_call(shape, parent, start_ns, exception)
            raise
        finally:
            hold(failed or (shape, parent, start_ns, now_ns()))

    execute_command = client.execute_command
    make_pipeline = client.pipeline

    async def recorded_command(*args: Any, **kwargs: Any) -> Any:
        return await recorded(str(args[0]).upper()[:32], lambda: execute_command(*args, **kwargs))

    def recorded_pipeline(*args: Any, **kwargs: Any) -> RedisPipeline:
        pipeline = make_pipeline(*args, **kwargs)
        execute = pipeline.execute

        async def recorded_execute(raise_on_error: bool = True) -> Any:
            return await recorded("PIPELINE", lambda: execute(raise_on_error))

        pipeline.execute = recorded_execute  # type: ignore[method-assign]
        return pipeline

    client.execute_command = recorded_command  # type: ignore[method-assign]
    client.pipeline = recorded_pipeline  # type: ignore[method-assign]


def _observe_pool(pool: ConnectionPool, pool_name: str, instruments: Instruments) -> None:
    wait = instruments.tally(instruments.db_wait.labels(pool_name), catalog.DB_WAIT.buckets)
    timeouts = instruments.db_timeouts.labels(pool_name)
    get_connection = pool.get_connection

    async def timed_get_connection(*args: Any, **kwargs: Any) -> Any:
        start = perf_counter()
        try:
            return await get_connection(*args, **kwargs)
        except RedisConnectionError as error:
            if _had_none_free(error):
                timeouts.inc()
            raise
        finally:
            wait.note(perf_counter() - start)

    def held(state: str) -> int:
        return sum(many for many, labels in pool.get_connection_count() if labels[_STATE] == state)

    pool.get_connection = timed_get_connection  # type: ignore[method-assign]  # the library measures it for its SDK only
    for state in ("used", "idle"):
        instruments.db_connections.labels(pool_name, state).set_function(partial(held, state))
    instruments.db_connections_max.labels(pool_name).set(pool.max_connections)


def _had_none_free(error: RedisConnectionError) -> bool:
    """Whether the pool was empty; else a new connection could not be made, which the library calls by the same name."""
    return isinstance(error, MaxConnectionsError) or isinstance(error.__cause__, TimeoutError)
