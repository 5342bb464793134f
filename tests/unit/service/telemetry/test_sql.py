"""The hooks in SQLAlchemy do exactly what they stand in for, and leave another dialect its own way."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as WireSpan
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import Pool

from service import telemetry
from service.telemetry.testing import Recorded

STATEMENT = "SELECT name FROM products WHERE id = $1"


class Cursor:
    """Keeps what it is asked; fails when it is told to."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self._failure = failure

    def execute(self, *asked: Any) -> None:
        self.asked.append(asked)
        if self._failure:
            raise self._failure


class OwnWay(PGDialect_asyncpg):
    """A dialect that has something to add to each statement."""

    def do_execute(self, cursor: Any, statement: str, parameters: Any, context: Any = None) -> None:
        cursor.execute(f"/* mine */ {statement}", parameters)


def an_engine(recorded: Recorded, dialect: type[PGDialect_asyncpg] = PGDialect_asyncpg) -> AsyncEngine:
    """Of no database: nothing connects before it is asked."""
    engine = create_async_engine("postgresql+asyncpg://nobody@127.0.0.1:1/shop")
    engine.sync_engine.dialect.__class__ = dialect
    recorded.telemetry.instrument_engine(engine, "primary")
    return engine


def execute(engine: AsyncEngine, cursor: Cursor, context: object | None = None) -> None:
    """As SQLAlchemy does for a statement of somebody's; ``context`` None: one of the dialect's own."""
    engine.sync_engine.dialect.do_execute(cursor, STATEMENT, (7,), context)  # type: ignore[arg-type]


def test_what_the_hooks_stand_in_for_is_what_they_do() -> None:
    """When this fails, SQLAlchemy does more there than it did: read it, and do that in ``service/telemetry/sql.py``."""
    assert DefaultDialect.do_execute.__code__.co_names == ("execute",)
    assert Pool.connect.__code__.co_names == ("_ConnectionFairy", "_checkout")


def test_a_statement_is_a_child_of_whoever_asked(recorded: Recorded) -> None:
    engine, cursor = an_engine(recorded), Cursor()
    with telemetry.span("asking"):
        execute(engine, cursor, object())
    assert cursor.asked == [(STATEMENT, (7,))]
    parent, child = recorded.span("asking"), recorded.span("SELECT products")
    assert (child.trace_id, child.parent_span_id) == (parent.trace_id, parent.span_id)
    assert child.kind == WireSpan.SPAN_KIND_CLIENT
    assert len(child.span_id) == 8
    assert child.span_id != parent.span_id
    assert parent.start_time_unix_nano <= child.start_time_unix_nano <= child.end_time_unix_nano
    assert child.end_time_unix_nano <= parent.end_time_unix_nano
    said = recorded.attributes(child)
    assert said["db.query.text"] == STATEMENT
    assert "error.type" not in said
    assert told(recorded, "good") == 1
    assert told(recorded, "bad") == 0


def test_a_failure_passes_and_is_told(recorded: Recorded) -> None:
    engine, cursor = an_engine(recorded), Cursor(ValueError("the connection was cut"))
    with telemetry.span("asking"), pytest.raises(ValueError, match="was cut"):
        execute(engine, cursor, object())
    child = recorded.span("SELECT products")
    assert child.status.code == 2
    assert recorded.attributes(child)["error.type"] == "ValueError"
    assert [event.name for event in child.events] == ["exception"]
    assert child.start_time_unix_nano <= child.end_time_unix_nano
    assert told(recorded, "bad") == 1
    assert told(recorded, "good") == 0


def test_a_dialect_keeps_its_own_way(recorded: Recorded) -> None:
    engine, cursor = an_engine(recorded, OwnWay), Cursor()
    with telemetry.span("asking"):
        execute(engine, cursor, object())
    assert cursor.asked == [(f"/* mine */ {STATEMENT}", (7,))]
    assert recorded.span("SELECT products")


@pytest.mark.parametrize("asked_by", ["the dialect", "nobody"])
def test_what_nobody_asked_to_see_is_done_and_not_told(recorded: Recorded, asked_by: str) -> None:
    engine, cursor = an_engine(recorded), Cursor()
    if asked_by == "nobody":
        execute(engine, cursor, object())
    else:
        with telemetry.span("asking"):
            execute(engine, cursor)
    assert cursor.asked == [(STATEMENT, (7,))]
    assert not [span for span in recorded.spans() if span.name != "asking"]


def told(recorded: Recorded, outcome: str) -> float:
    """Statements counted so."""
    recorded.spans()
    labels = {"db_system_name": "postgresql", "db_client_connection_pool_name": "primary"}
    labels |= {"db_operation_name": "SELECT", "outcome": outcome}
    found = recorded.telemetry.instruments.registry.get_sample_value(
        "db_client_operation_duration_seconds_count", labels
    )
    return found or 0.0
