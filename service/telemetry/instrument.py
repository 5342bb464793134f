"""The door for an application that is not of this repository: one call, and it is traced, measured and logged.

Owns what a stranger need not know: where the collector's address comes from, how the telemetry starts and stops with
the application. Everything else is ``Telemetry``. docs/instrument.md is its manual.
"""

from __future__ import annotations

import atexit
import os
import socket
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette

from service.telemetry.middleware import App
from service.telemetry.telemetry import Telemetry, build_telemetry

_MARK = "_signalbox_telemetry"


def instrument(
    app: Starlette,
    *,
    service_name: str,
    service_version: str = "0",
    service_namespace: str = "",
    instance_id: str = "",
    environment: str = "development",
    revision: str = "unknown",
    otlp_url: str | None = None,
    unobserved: Collection[str] = (),
    flush_s: float = 3.0,
) -> Telemetry:
    """Make ``app`` (FastAPI or Starlette) tell of itself: spans to ``otlp_url``, JSON lines on stdout, ``/metrics``.

    Call it once a process, before the first request; routes may be added before and after. ``otlp_url`` is the base
    address of an OTLP/HTTP receiver, by default ``OTEL_EXPORTER_OTLP_ENDPOINT``; without either no span leaves the
    process, and that is counted. ``instance_id`` is the host's name and process id unless given. ``unobserved`` paths
    (probes) leave no trace. Telemetry begins with the first message from the server, after any fork, and ends with the
    application's lifespan, waiting at most ``flush_s`` seconds for the collector.

    Returns the telemetry, whose ``instrument_engine``, ``instrument_http_client`` and ``instrument_redis`` take the
    application's clients. Raises ``ValueError`` when the application has been instrumented before.
    """
    if hasattr(app.state, _MARK):
        raise ValueError("this application is instrumented already; one call a process is enough")
    telemetry = build_telemetry(
        service_name=service_name,
        service_version=service_version,
        service_namespace=service_namespace or service_name,
        instance_id=instance_id or f"{socket.gethostname()}-{os.getpid()}",
        environment=environment,
        revision=revision,
        otlp_url=otlp_url or os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or None,
    )
    setattr(app.state, _MARK, telemetry)
    telemetry.instrument_app(app, unobserved=unobserved)
    _start_with(app, telemetry)
    _stop_with(app, telemetry, flush_s)
    return telemetry


def _start_with(app: Starlette, telemetry: Telemetry) -> None:
    """Starlette builds its stack at the first message of the server, be it of a lifespan or of a request."""
    build = app.build_middleware_stack

    def build_and_start() -> App:
        telemetry.start()
        return build()

    app.build_middleware_stack = build_and_start  # type: ignore[method-assign]


def _stop_with(app: Starlette, telemetry: Telemetry, flush_s: float) -> None:
    """After the application's own lifespan, so that what it tells on its way out is told; without one, at exit."""
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(of: Any) -> AsyncIterator[Any]:
        try:
            async with inner(of) as state:
                yield state
        finally:
            await telemetry.shutdown(flush_s)

    app.router.lifespan_context = lifespan
    atexit.register(telemetry.stop, flush_s)
