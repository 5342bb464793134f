"""Puts the parts of the door together for one process and gives it its life: build, start, flush, stop.

Owns wiring and order of shutdown. Each part's own module owns what it does.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import SpanKind
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from service.telemetry import exposition, runtime
from service.telemetry.catalog import (
    PROBLEM_KIND_ATTRIBUTE,
    PROBLEM_REASON_ATTRIBUTE,
    REQUEST_ID_ATTRIBUTE,
    REQUEST_ID_HEADER,
    UNOBSERVED_PATHS,
)
from service.telemetry.export import SpanExporter
from service.telemetry.figures import Read, observe_figures
from service.telemetry.instruments import Instruments
from service.telemetry.lines import JsonFormatter, LineHandler, LineWriter
from service.telemetry.middleware import (
    App,
    Receive,
    Scope,
    Send,
    ServerSpan,
    TelemetryMiddleware,
    parse_request_id,
    parse_traceparent,
)
from service.telemetry.null import NullTelemetry
from service.telemetry.pace import GATHER_TICKS, Ticker
from service.telemetry.pipeline import Pipeline
from service.telemetry.routes import RouteTemplates, route_templates
from service.telemetry.spans import Active, Span, TracerProvider, current_span
from service.telemetry.stalls import LoopWatch
from service.telemetry.websocket import WebSocketTelemetry

if TYPE_CHECKING:
    from redis.asyncio import Redis
    from sqlalchemy.ext.asyncio import AsyncEngine

    from service.telemetry.calls import HttpClient

_current: Telemetry | NullTelemetry | None = None
_current_lock = threading.Lock()


class Telemetry:
    """Telemetry of one process. ``sink`` takes finished spans; ``instruments`` are its metrics."""

    def __init__(
        self,
        *,
        service_name: str,
        service_version: str,
        instance_id: str,
        environment: str,
        otlp_url: str | None,
        service_namespace: str = "signalbox",
        revision: str = "unknown",
        line_fd: int = 1,
    ) -> None:
        self.instruments = Instruments()
        resource = Resource.create(
            {
                "service.name": service_name,
                "service.namespace": service_namespace,
                "service.version": service_version,
                "service.instance.id": instance_id,
                "deployment.environment.name": environment,
            }
        ).attributes
        identity = {key: str(value) for key, value in resource.items() if not key.startswith("telemetry.")}
        self.exporter = SpanExporter(otlp_url, dict(resource), self.instruments)
        self.writer = LineWriter(self.instruments, line_fd)
        self.pipeline = Pipeline(identity, self.instruments, self.exporter, self.writer)
        self.sink: Callable[[Span], None] = self.pipeline.accept
        self._handler = LineHandler(self.writer, JsonFormatter(identity))
        self._garbage = runtime.GarbagePauses(self.instruments)
        self._loop_watch = LoopWatch(self.instruments, runtime.LAG_INTERVAL_S)
        self._ticker = Ticker(self._tick, self._loop_watch.pause_s)
        self._ticks = 0
        self._started = False
        self._tasks: list[asyncio.Task[None]] = []
        self._figures: list[tuple[str, Read]] = []
        self._queues: list[tuple[str, Callable[[], Awaitable[runtime.QueueStats]]]] = []
        self._process = runtime.observe_process(self.instruments, service_name, service_version, revision)

    # what is observed; a client's library is loaded by whoever has the client, so not here

    def instrument_app(self, app: Starlette, *, unobserved: Collection[str] = ()) -> None:
        """Trace, measure and log every request and WebSocket connection of ``app``, and serve ``/metrics``.

        To be called before the first request. ``unobserved``: paths beside the platform's own that leave no trace.
        Series of the routes exist, at zero, from the application's start: so a first error is seen as an increase.
        """
        build = app.build_middleware_stack

        def build_with_telemetry() -> App:
            self.pipeline.expect(route_templates(app.routes))
            switch_off_fastapis_own(app)
            # Last: every request would be compared with it. What asks otherwise than a scrape is for the application.
            metrics = Route("/metrics", self._metrics, include_in_schema=False)
            app.router.routes.append(metrics)
            inner = build()

            def scrape(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
                answers = metrics.app if scope["method"] in ("GET", "HEAD") else inner
                return answers(scope, receive, send)

            template = RouteTemplates(app).template
            websocket = WebSocketTelemetry(inner, self.sink, template, self.instruments)
            others = dict.fromkeys(UNOBSERVED_PATHS.union(unobserved), inner) | {"/metrics": scrape}
            middleware = TelemetryMiddleware(inner, self.sink, template, websocket, others)
            self.instruments.http_server_active.set_function(lambda: middleware.active)
            self.instruments.websocket_open.set_function(lambda: websocket.open)
            return middleware

        app.build_middleware_stack = build_with_telemetry  # type: ignore[method-assign]

    def instrument_engine(self, engine: AsyncEngine, pool_name: str) -> None:
        """Record the statements and the pool of ``engine``."""
        from service.telemetry.sql import instrument_engine

        instrument_engine(engine, pool_name, self.instruments, self.pipeline.hold)

    def instrument_http_client(self, client: HttpClient, peer: str = "") -> None:
        """Record the requests of ``client``; the callee continues the trace. ``peer``: its ``service.name``, where the
        client is for one service, so that people read a name and not an address."""
        from service.telemetry.calls import instrument_http_client

        instrument_http_client(client, self.instruments, self.sink, peer=peer)

    def instrument_redis(self, client: Redis, pool_name: str) -> None:
        """Record the commands and the pool of ``client``."""
        from service.telemetry.commands import instrument_redis

        instrument_redis(client, pool_name, self.instruments, self.pipeline.hold)

    def observe_queue(self, name: str, stats: Callable[[], Awaitable[runtime.QueueStats]]) -> None:
        """Export depth and oldest age of a queue, read once a second while the process runs."""
        self._queues.append((name, stats))

    def observe_figures(self, source: str, read: Read) -> None:
        """Export what ``read`` tells of a server, asked every few seconds while the process runs."""
        self._figures.append((source, read))

    # what the code of the service tells

    def span(
        self, name: str, kind: SpanKind = SpanKind.INTERNAL, attributes: Mapping[str, Any] | None = None
    ) -> Active:
        """A child of the current span."""
        return self._active(Span(name, kind, current_span(), self.sink), attributes)

    def consumer_span(
        self, name: str, headers: Mapping[str, str], attributes: Mapping[str, Any] | None = None
    ) -> Active:
        """A span that continues the trace of whoever put the job into the queue, and the request, if it was one."""
        parent = parse_traceparent(headers.get("traceparent", "").encode("latin-1", "replace"))
        span = Span(name, SpanKind.CONSUMER, parent, self.sink)
        if request_id := parse_request_id(headers.get(REQUEST_ID_HEADER, "").encode("latin-1", "replace")):
            span.own_request_id = request_id
            span.set_attribute(REQUEST_ID_ATTRIBUTE, request_id)
        return self._active(span, attributes)

    def _active(self, span: Span, attributes: Mapping[str, Any] | None) -> Active:
        if attributes:
            span.set_attributes(attributes)
        return Active(span)

    def event(self, name: str, attributes: Mapping[str, Any] | None) -> None:
        """An event of the current span and a log line."""
        trace.get_current_span().add_event(name, dict(attributes or {}))
        logging.getLogger("service.events").info(name, extra={"event.name": name, **(attributes or {})})

    def note(self, key: str, word: str) -> None:
        """Have the span and the line of the request at hand say ``word``."""
        span = trace.get_current_span()
        span.set_attribute(key, word)
        if isinstance(span, ServerSpan):
            span.notes = {**(span.notes or {}), key: word}

    def problem(self, kind: str, reason: str) -> None:
        """Count the problem that the request at hand is answered with, and have its span and its line say which."""
        self.instruments.problems.labels(kind, reason).inc()
        self.note(PROBLEM_KIND_ATTRIBUTE, kind)
        if reason:
            self.note(PROBLEM_REASON_ATTRIBUTE, reason)

    # life

    def start(self) -> None:
        """Begin: threads, JSON logging on the root logger, probes. Needs the running event loop. Once is enough."""
        if self._started:
            return
        self._started = True
        if not isinstance(trace.get_tracer_provider(), TracerProvider):  # the API takes one a process, for good
            trace.set_tracer_provider(TracerProvider(lambda span: current().sink(span)))
        self.writer.start()
        self.exporter.start()
        self._ticker.start()
        self._garbage.start()
        self.take_over_logging()
        living = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: (found := living()) and found._after_fork())
        loop = asyncio.get_running_loop()
        self._tasks.append(loop.create_task(runtime.observe_loop_lag(self.instruments, self._loop_watch)))
        for source, read in self._figures:
            observing = observe_figures(self.instruments.figures, source, read, self._figures_problem)
            self._tasks.append(loop.create_task(observing))
        for name, stats in self._queues:
            self._tasks.append(
                loop.create_task(runtime.observe_queue(self.instruments, name, stats, self._queue_problem))
            )

    def _after_fork(self) -> None:
        """A child of ``os.fork`` or ``multiprocessing`` has the buffers and none of the threads: begin anew there."""
        for part in (self.instruments, self.exporter, self.writer, self.pipeline):
            part.after_fork()
        self._ticker.start()

    def _tick(self) -> None:
        """Everything that waits for the ticker; the deliverers' own threads take what the pipeline has made."""
        self._loop_watch.look()
        self._ticks += 1
        if self._ticks % GATHER_TICKS:
            return
        self.pipeline.drain()
        self.exporter.pace.tick()
        self.writer.pace.tick()

    async def shutdown(self, timeout_s: float = 3.0) -> None:
        """Flush what is there and stop, within ``timeout_s`` however the backends behave."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.to_thread(self.stop, timeout_s)

    def stop(self, timeout_s: float = 3.0) -> None:
        """``shutdown`` for a process without a loop."""
        deadline = time.monotonic() + timeout_s
        self._garbage.stop()
        self._ticker.stop()
        self.pipeline.drain(wait=True)
        self.exporter.stop(max(0.0, deadline - time.monotonic()) * 0.7)
        self.writer.stop(max(0.0, deadline - time.monotonic()))

    def take_over_logging(self) -> None:
        """Send every log record of the process through the line writer, as JSON."""
        root = logging.getLogger()
        root.handlers[:] = [self._handler]
        root.setLevel(logging.INFO)
        for noisy in ("alembic", "httpx", "httpcore", "httpx2", "httpcore2", "asyncio"):
            logging.getLogger(noisy).setLevel(logging.WARNING)
        for name in ("uvicorn", "uvicorn.error"):
            logging.getLogger(name).handlers.clear()
            logging.getLogger(name).propagate = True
        # The middleware logs what escapes the application, with its trace; uvicorn's line knows none.
        logging.getLogger("uvicorn.error").addFilter(_without_asgi_exception)

    def _queue_problem(self, error: Exception) -> None:
        logging.getLogger("service.telemetry").warning("queue cannot be read: %s", type(error).__qualname__)

    def _figures_problem(self, error: Exception) -> None:
        logging.getLogger("service.telemetry").warning(
            "a server's figures cannot be read: %s", type(error).__qualname__
        )

    async def _metrics(self, request: Request) -> Response:
        await self._process.read()
        accept = request.headers.get("accept", "")
        body, content_type = await exposition.write(self.instruments.registry, accept)
        return Response(body, media_type=None, headers={"content-type": content_type})


def _without_asgi_exception(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith("Exception in ASGI application")


def switch_off_fastapis_own(app: Any) -> None:
    """FastAPI, mounted ones too, records telemetry of its own once a tracer provider is there; the door replaces it."""
    config = getattr(app, "_telemetry", None)  # what ``FastAPI(telemetry=...)`` was given; read anew at every request
    if isinstance(config, dict):
        config.update(tracing=False, metrics=False, logs=False, operation_spans=False)
    for route in getattr(app, "routes", ()):
        if isinstance(route, Mount):
            switch_off_fastapis_own(route.app)


def build_telemetry(**identity: Any) -> Telemetry:
    """Make the telemetry of this process; call it after fork. Arguments are those of ``Telemetry``."""
    made = Telemetry(**identity)
    _make_current(made)
    return made


def switch_off() -> NullTelemetry:
    """Make this process tell nothing, at no cost: for measuring what telling costs."""
    made = NullTelemetry()
    _make_current(made)
    return made


def _make_current(made: Telemetry | NullTelemetry) -> None:
    global _current
    with _current_lock:
        _current = made


def current() -> Telemetry | NullTelemetry:
    """The telemetry of this process; until one is built, a real one in memory that exports nothing."""
    global _current
    if _current is None:
        with _current_lock:
            if _current is None:
                _current = Telemetry(
                    service_name="unnamed",
                    service_version="0",
                    instance_id="unnamed",
                    environment="development",
                    otlp_url=None,
                )
    return _current
