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

from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import QueuePool
from sqlalchemy.pool.base import _ConnectionFairy

from service.telemetry import catalog
from service.telemetry.instruments import Instruments
from service.telemetry.middleware import ServerSpan
from service.telemetry.pipeline import DatabaseShape, Hold, failed_call
from service.telemetry.spans import SPAN_KEY, current_span, get_context, now_ns

_MAX_STATEMENTS = 1000
_TARGET = re.compile(r"\b(?:from|into|update|join)\s+(?:only\s+)?([\w.\"]+)", re.IGNORECASE)


def instrument_engine(engine: AsyncEngine, pool_name: str, instruments: Instruments, hold: Hold) -> None:
    """Record every statement and the pool of ``engine`` under the name ``pool_name``. ``hold``: ``Pipeline.hold``."""
    _observe_statements(engine, pool_name, instruments, hold)
    _observe_pool(engine, pool_name, instruments)


def _observe_statements(engine: AsyncEngine, pool_name: str, instruments: Instruments, hold: Hold) -> None:
    shapes: dict[str, DatabaseShape] = {}
    url = engine.url

    def shape_of(statement: str) -> DatabaseShape:
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
        shape = DatabaseShape(name, attributes, ("postgresql", pool_name, operation), instruments)
        if len(shapes) < _MAX_STATEMENTS:
            shapes[statement] = shape
        return shape

    def recording(execute: Callable[..., None], *, plain: bool) -> Callable[..., None]:
        """``plain``: ``execute`` passes statement and parameters to the cursor, so that can be done here."""

        def recorded(cursor: Any, statement: str, parameters: Any, context: Any = None) -> None:
            parent = get_context().get(SPAN_KEY)
            if type(parent) is not ServerSpan:
                parent = current_span()
            if context is None or parent is None:  # the dialect's own set-up, or work that nobody asked to see
                execute(cursor, statement, parameters, context)
                return
            shape = shapes.get(statement) or shape_of(statement)
            failed = None
            start_ns = now_ns()
            try:
                if plain:
                    cursor.execute(statement, parameters)
                else:
                    execute(cursor, statement, parameters, context)
            except Exception as exception:
                failed = failed_call(shape, parent, start_ns, exception)
                raise
            finally:
                hold(failed or (shape, parent, start_ns, now_ns()))

        return recorded

    dialect = engine.sync_engine.dialect
    plain = type(dialect).do_execute is DefaultDialect.do_execute
    dialect.do_execute = recording(dialect.do_execute, plain=plain)  # type: ignore[method-assign]
    dialect.do_executemany = recording(dialect.do_executemany, plain=False)  # type: ignore[method-assign]


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

    def timed_connect() -> Any:
        start = perf_counter()
        try:
            return _ConnectionFairy._checkout(pool)  # all that ``Pool.connect`` does
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
