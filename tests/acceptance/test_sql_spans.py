"""Our SQL spans held against those of ``opentelemetry-instrumentation-sqlalchemy``, statement by statement."""

from __future__ import annotations

import asyncio
from typing import Any

from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from service import telemetry
from service.telemetry.testing import record
from tests.conftest import Stack

SECRET = 4711008151623  # a parameter; long enough not to stand in a timestamp by chance
STATEMENTS = (
    "SELECT id FROM products WHERE id = :id",
    "SELECT p.id FROM products p JOIN products q ON q.id = p.id WHERE p.id = :id",
    "WITH one AS (SELECT 1 AS id) SELECT id FROM one WHERE id = :id",
    "SELECT id FROM no_such_table WHERE id = :id",
)


def database_url(stack: Stack) -> str:
    password = stack.secret("database_password")
    port = 15432 + stack.port_offset
    return f"postgresql+asyncpg://signalbox:{password}@127.0.0.1:{port}/signalbox"


async def run_statements(url: str, instrument: Any) -> None:
    engine = create_async_engine(url, hide_parameters=True)
    instrument(engine)
    async with engine.connect() as connection:
        await connection.execute(text("SELECT 1"))  # the dialect's own questions at a first connection are behind us
        for statement in STATEMENTS:
            try:
                with telemetry.span("around"):
                    await connection.execute(text(statement), {"id": SECRET})
            except DBAPIError:
                await connection.rollback()
    await engine.dispose()


def test_every_statement_has_a_span_in_both_with_the_same_text_and_status(stack: Stack) -> None:
    url = database_url(stack)
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    stock_instrumentation = SQLAlchemyInstrumentor()

    def stock(engine: Any) -> None:
        # The package refuses SQLAlchemy 2.1 by its declared range, and works with it.
        stock_instrumentation.instrument(engine=engine.sync_engine, tracer_provider=provider, skip_dep_check=True)

    asyncio.run(run_statements(url, stock))
    stock_instrumentation.uninstrument()
    theirs = {
        (span.attributes["db.statement" if "db.statement" in span.attributes else "db.query.text"], span.status.is_ok)
        for span in exporter.get_finished_spans()
        if "$1" in str(dict(span.attributes or {}))
    }

    with record() as recorded:
        asyncio.run(run_statements(url, lambda engine: recorded.telemetry.instrument_engine(engine, "tested")))
        ours = {
            (recorded.attributes(span)["db.query.text"], span.status.code != 2)
            for span in recorded.spans()
            if span.name != "around"
        }
        everything = recorded.everything()

    assert len(theirs) == len(STATEMENTS)
    assert ours == theirs
    assert str(SECRET) not in everything
