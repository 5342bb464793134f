"""An application that is as careless as applications are: what it is sent ends up in exceptions, spans, lines and SQL.

For the test that none of it gets out through the door. Run by uvicorn; the environment says where database and
collector are.
"""

from __future__ import annotations

import os
from typing import Any

from fastapi import BackgroundTasks, FastAPI, Request
from opentelemetry import baggage, context, trace
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from service import telemetry


class Unknown(Exception):
    """Writes its message itself."""

    def __init__(self, name: str) -> None:
        super().__init__(f"nobody here is called {name}, sorry")


def raise_somehow(way: str, secret: str) -> None:
    """The ways in which a value gets into a message."""
    if way == "f-string":
        raise ValueError(f"no account for {secret} in this shop")
    if way == "percent":
        raise ValueError("no account for %s in this shop" % secret)  # noqa: UP031
    if way == "class":
        raise Unknown(secret)
    if way == "key":
        {}[secret]
    if way == "c":
        int(secret + "x")
    if way == "cause":
        try:
            raise_somehow("f-string", secret)
        except ValueError as error:
            raise RuntimeError("could not go on") from error
    if way == "group":
        raise ExceptionGroup("some failed", [ValueError(f"one for {secret} it was")])


def build_app() -> FastAPI:
    """The application, instrumented."""
    app = FastAPI()
    engine = create_async_engine(os.environ["LEAKY_DATABASE"])
    log = telemetry.logger("leaky")
    tracer = trace.get_tracer("leaky")

    @app.post("/raise/{way}")
    async def fail(way: str, request: Request) -> None:
        raise_somehow(way, (await request.json())["secret"])

    @app.post("/later/{way}")
    async def fail_later(way: str, request: Request, tasks: BackgroundTasks) -> None:
        tasks.add_task(raise_somehow, way, (await request.json())["secret"])

    @app.post("/log")
    async def write_lines(request: Request) -> None:
        body: dict[str, Any] = await request.json()
        secret = body["secret"]
        log.warning("password=%s was refused", secret)
        log.warning("customer", extra={"customer.name": secret, "auth": {"token": secret}, "card_number": secret})
        try:
            raise_somehow("f-string", secret)
        except ValueError as error:
            log.error("failed: %s", error)
            log.exception("failed")

    @app.post("/span")
    async def make_spans(request: Request) -> None:
        secret = (await request.json())["secret"]
        attributes: Any = {"user.name": secret, "session.token": secret, "urls": [f"https://me:{secret}@example.org"]}
        with tracer.start_as_current_span("careless", attributes=attributes) as span:
            span.add_event("seen", attributes)
            span.add_link(span.get_span_context(), attributes)
            token = context.attach(baggage.set_baggage("who", secret))
            telemetry.event("leaky.seen", {"user.email": secret})
            context.detach(token)

    @app.post("/sql")
    async def run_sql(request: Request) -> None:
        secret = (await request.json())["secret"]
        async with engine.connect() as connection:
            await connection.execute(text("SELECT :secret ::text"), {"secret": secret})
            await connection.execute(text("SELECT no_such_column, :secret ::text"), {"secret": secret})

    instrumented = telemetry.instrument(app, service_name="leaky", service_namespace="signalbox")
    instrumented.instrument_engine(engine, "leaky")
    return app
