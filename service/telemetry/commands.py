"""Commands through the redis client as client spans and durations. Keys and values are never recorded."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline as RedisPipeline

from service.telemetry import catalog, otlp
from service.telemetry.instruments import Distribution, Instruments
from service.telemetry.pipeline import CallSpan
from service.telemetry.spans import Span, current_span


class CommandShape:
    """One command of the cache."""

    def __init__(self, command: str, address: dict[str, Any], instruments: Instruments) -> None:
        self.name = command
        self.encoded = otlp.SpanShape(command, 3, {"db.system.name": "redis", "db.operation.name": command, **address})
        child = instruments.db_operation_duration.labels
        self._good = Distribution(child("redis", "cache", command, "good"), catalog.CALL_SECONDS)
        self._bad = Distribution(child("redis", "cache", command, "bad"), catalog.CALL_SECONDS)

    def measure(self, span: Span) -> Distribution:
        return self._bad if span.error_type else self._good


def instrument_redis(client: Redis, instruments: Instruments, sink: Callable[[Span], None]) -> None:
    """Record every command and every pipeline of ``client``."""
    options = client.connection_pool.connection_kwargs
    address = {"server.address": options.get("host", ""), "server.port": options.get("port", 6379)}
    shapes: dict[str, CommandShape] = {}

    async def recorded(command: str, call: Callable[[], Awaitable[Any]]) -> Any:
        parent = current_span()
        if parent is None:  # housekeeping that nobody asked to see
            return await call()
        shape = shapes.get(command)
        if shape is None:
            shape = shapes[command] = CommandShape(command, address, instruments)
        span = CallSpan(shape, parent, sink)
        try:
            return await call()
        except Exception as exception:
            span.fail(exception)
            raise
        finally:
            span.end()

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
