"""The stock wiring: each package as its README says, every span exported.

opentelemetry-instrumentation-{fastapi,sqlalchemy,redis,httpx} with the OTLP/gRPC exporter behind the batch processor,
prometheus-fastapi-instrumentator with its defaults, and a JSON access line by python-json-logger in an
``@app.middleware("http")``. Nothing is tuned, for or against it.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.instrumentation.httpx import HTTPX2ClientInstrumentor
from opentelemetry.instrumentation.redis import RedisInstrumentor
from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from prometheus_fastapi_instrumentator import Instrumentator
from pythonjsonlogger.json import JsonFormatter


def instrument_libraries() -> Callable[[], object]:
    """Before the service is imported, as ``opentelemetry-instrument`` would. Returns what empties the batch."""
    provider = TracerProvider(resource=Resource.create({"service.name": "stock"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(insecure=True)))  # OTEL_EXPORTER_OTLP_ENDPOINT
    trace.set_tracer_provider(provider)
    SQLAlchemyInstrumentor().instrument(skip_dep_check=True)  # it declares SQLAlchemy < 2.1 and works with it
    RedisInstrumentor().instrument()
    HTTPX2ClientInstrumentor().instrument()  # payments is asked with httpx2
    return provider.force_flush


def instrument_app(app: FastAPI) -> None:
    """The application's own part: server spans, metrics, one line a request."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    access = logging.getLogger("access")
    access.addHandler(handler)
    access.setLevel(logging.INFO)
    access.propagate = False

    @app.middleware("http")
    async def log_request(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        start = time.perf_counter()
        response = await call_next(request)
        context = trace.get_current_span().get_span_context()
        access.info(
            "request",
            extra={
                "method": request.method,
                "path": request.url.path,
                "status": response.status_code,
                "duration_s": time.perf_counter() - start,
                "trace_id": f"{context.trace_id:032x}",
                "span_id": f"{context.span_id:016x}",
            },
        )
        return response

    Instrumentator().instrument(app).expose(app)
    FastAPIInstrumentor.instrument_app(app)
