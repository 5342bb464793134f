"""SQL statements as spans and durations; connection pools as gauges and waiting time.

Stands in for the dialect's ``do_execute``, which is exactly the driver's work, instead of listening to the cursor
events as the stock instrumentation does (docs/adr/0002-telemetry-door.md has the figures). Parameters are never
recorded: only the statement with its placeholders.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from time import perf_counter
from typing import Any

from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import QueuePool

from service.telemetry import catalog, otlp
from service.telemetry.instruments import Distribution, Instruments
from service.telemetry.pipeline import CallSpan
from service.telemetry.spans import Span, current_span, now_ns

_MAX_STATEMENTS = 1000
_TARGET = re.compile(r"\b(?:from|into|update|join)\s+(?:only\s+)?([\w.\"]+)", re.IGNORECASE)


class StatementShape:
    """Encoded name and attributes of one statement, and its histogram children."""

    __slots__ = ("bad", "encoded", "good", "name")

    def __init__(self, name: str, encoded: otlp.SpanShape, good: Distribution, bad: Distribution) -> None:
        self.name = name
        self.encoded = encoded
        self.good = good
        self.bad = bad

    def measure(self, span: Span) -> Distribution:
        return self.bad if span.error_type else self.good


def instrument_engine(
    engine: AsyncEngine, pool_name: str, instruments: Instruments, hold: Callable[[Span], None]
) -> None:
    """Record every statement and the pool of ``engine`` under the name ``pool_name``. ``hold``: ``Pipeline.hold``."""
    _observe_statements(engine, pool_name, instruments, hold)
    _observe_pool(engine, pool_name, instruments)


def _observe_statements(
    engine: AsyncEngine, pool_name: str, instruments: Instruments, hold: Callable[[Span], None]
) -> None:
    shapes: dict[str, StatementShape] = {}
    url = engine.url

    def shape_of(statement: str) -> StatementShape:
        operation, target = summarize(statement)
        name = f"{operation} {target}" if target else operation
        attributes: dict[str, object] = {
            "db.system.name": "postgresql",
            "db.namespace": url.database or "",
            "db.operation.name": operation,
            "db.query.summary": name,
            "db.query.text": statement,
            "server.address": url.host or "",
            "server.port": url.port or 5432,
            "db.client.connection.pool.name": pool_name,
        }
        if target:
            attributes["db.collection.name"] = target
        child = instruments.db_operation_duration.labels
        shape = StatementShape(
            name,
            otlp.SpanShape(name, 3, attributes),
            Distribution(child("postgresql", pool_name, operation, "good"), catalog.CALL_SECONDS),
            Distribution(child("postgresql", pool_name, operation, "bad"), catalog.CALL_SECONDS),
        )
        if len(shapes) < _MAX_STATEMENTS:
            shapes[statement] = shape
        return shape

    def recording(execute: Callable[..., None]) -> Callable[..., None]:
        def recorded(cursor: Any, statement: str, parameters: Any, context: Any = None) -> None:
            parent = current_span()
            if context is None or parent is None:  # the dialect's own set-up, or work that nobody asked to see
                execute(cursor, statement, parameters, context)
                return
            span = CallSpan(shapes.get(statement) or shape_of(statement), parent, hold)
            try:
                execute(cursor, statement, parameters, context)
            except Exception as exception:
                span.fail(exception)
                raise
            finally:
                span.end_ns = now_ns()  # nobody else has it, to end it before
                hold(span)

        return recorded

    dialect = engine.sync_engine.dialect
    dialect.do_execute = recording(dialect.do_execute)  # type: ignore[method-assign]
    dialect.do_executemany = recording(dialect.do_executemany)  # type: ignore[method-assign]


def summarize(statement: str) -> tuple[str, str]:
    """Operation and main table of a statement, for names of few values: ``("SELECT", "products")``."""
    words = statement.lstrip(" \t\r\n(").split(None, 1)
    operation = words[0].upper()[:16] if words else "SQL"
    if operation == "WITH":
        found = re.search(r"\)\s*(select|insert|update|delete)\b", statement, re.IGNORECASE)
        operation = found[1].upper() if found else operation
    target = _TARGET.search(statement)
    return operation, target[1].replace('"', "") if target else ""


def _observe_pool(engine: AsyncEngine, pool_name: str, instruments: Instruments) -> None:
    pool = engine.sync_engine.pool
    wait = instruments.tally(instruments.db_wait.labels(pool_name), catalog.DB_WAIT.buckets)
    timeouts = instruments.db_timeouts.labels(pool_name)
    connect = pool.connect

    def timed_connect() -> Any:
        start = perf_counter()
        try:
            return connect()
        except PoolTimeoutError:
            timeouts.inc()
            raise
        finally:
            wait.note(perf_counter() - start)

    pool.connect = timed_connect  # type: ignore[method-assign]  # SQLAlchemy has no event before a checkout
    if isinstance(pool, QueuePool):
        queue: QueuePool = pool
        instruments.db_connections.labels(pool_name, "used").set_function(queue.checkedout)
        instruments.db_connections.labels(pool_name, "idle").set_function(queue.checkedin)
        instruments.db_connections_max.labels(pool_name).set(queue.size() + max(0, queue._max_overflow))
