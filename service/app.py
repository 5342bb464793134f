"""What the applications of all processes have in common: telemetry, probes, faults, limits, and their order of life.

Knows no noun and no backend; a process's own parts are put together in ``service.processes``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, Depends, FastAPI

from service import faults as fault
from service import health, telemetry
from service.deadline import DeadlineMiddleware
from service.edge.answers import AnswerMiddleware
from service.edge.body import BodyLimitMiddleware
from service.edge.head import HeadMiddleware
from service.edge.own_writes import OwnWritesMiddleware
from service.edge.versioning import Version
from service.errors import install_error_handlers
from service.settings import Settings
from service.telemetry import NullTelemetry, Telemetry

# FastAPI records telemetry of its own unless told not to; the door does that here, for a tenth of the price.
_NO_TELEMETRY_OF_ITS_OWN: Any = {"tracing": False, "metrics": False, "logs": False, "operation_spans": False}

TELEMETRY_FLUSH_S = 2.0  # what a dead collector may cost a process that leaves (promise 8: five seconds in all)
MAX_BODY_BYTES = 16_384  # an order of twenty lines is under two thousand

Close = Callable[[], Awaitable[object]]


def build_telemetry(settings: Settings) -> Telemetry | NullTelemetry:
    if settings.telemetry == "off":
        return telemetry.switch_off()
    return telemetry.build_telemetry(
        service_name=settings.service_name,
        service_version=settings.version,
        instance_id=settings.instance_id,
        environment=settings.environment,
        otlp_url=settings.otlp_url or None,
        revision=settings.revision,
    )


def assemble(
    title: str,
    settings: Settings,
    tel: Telemetry | NullTelemetry,
    state: health.Health,
    faults: fault.Faults,
    *,
    routers: Sequence[APIRouter] = (),
    disturb: Callable[..., Awaitable[None]] | None = None,
    opening: Sequence[Callable[[], None]] = (),
    closing: Sequence[Close],
    position: Callable[[], Awaitable[int]] | None = None,
    versions: Sequence[Version] = (),
) -> FastAPI:
    """What every process has in common.

    ``disturb`` is asked before each public route, where faults are allowed. ``position`` is where the database's log
    ends: callers of a process that has one read their own writes. ``versions``: of an API that has some.
    """

    if settings.defect and faults.allowed:  # this version is said to have it from its first request on
        faults.switch_on(settings.defect, {"percent": settings.defect_percent})

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        tel.start()
        for open_part in opening:
            open_part()
        await state.warm_up()  # before the server listens
        state.started = True
        try:
            yield
        finally:
            for close in closing:
                await close()
            await tel.shutdown(TELEMETRY_FLUSH_S)

    app = FastAPI(
        title=title,
        version=settings.version,
        docs_url="/docs" if settings.docs == "on" else None,
        openapi_url="/openapi.json" if settings.docs == "on" else None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        telemetry=_NO_TELEMETRY_OF_ITS_OWN,
    )
    app.state.health = state
    install_error_handlers(app)
    disturbance = [Depends(disturb)] if disturb is not None and faults.allowed else []
    for router in routers:
        app.include_router(router, dependencies=disturbance)
    app.include_router(health.build_router(state))
    app.include_router(fault.build_router(faults))
    if position is not None:
        app.add_middleware(OwnWritesMiddleware, position=position)
    app.add_middleware(DeadlineMiddleware, budget_s=settings.request_timeout_s)
    app.add_middleware(BodyLimitMiddleware, most_bytes=MAX_BODY_BYTES)
    if versions:
        app.add_middleware(AnswerMiddleware, by_prefix={version.name: version.headers() for version in versions})
    app.add_middleware(HeadMiddleware)
    tel.instrument_app(app)
    return app
