"""The one ASGI middleware: it wraps a request in a server span and does nothing else before the answer is out.

Inside the request: one object, two clock reads, one context variable set and reset, one append. Everything that can
wait (route, ids of the caller, metrics, log line, bytes) is ``pipeline``'s work on finished spans.

Owns the life of a server span. Knows nothing of metrics, logs or exporters.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from opentelemetry import context as context_api
from opentelemetry.propagate import extract
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags, get_current_span

from service.telemetry.catalog import UNOBSERVED_PATHS
from service.telemetry.spans import Parent, Span, context_with, now_ns

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


_logger = logging.getLogger("service.http")
_TRACEPARENT = re.compile(rb"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})").fullmatch
_FLAGS = (TraceFlags(TraceFlags.DEFAULT), TraceFlags(TraceFlags.SAMPLED))


class ServerSpan(Span):
    """The span of one HTTP request.

    ``status``: what was sent, 0 until then. ``raised``: an exception left the application instead of an answer.
    ``scope`` is kept until the span is recorded: the route is read from it then.
    """

    __slots__ = ("_answered_ns", "_parent_known", "_send", "raised", "scope", "status")

    def __init__(self, scope: Scope, send: Send, sink: Callable[[Span], None]) -> None:
        Span.__init__(self, "", SpanKind.SERVER, None, sink)
        self.scope = scope
        self.status = 0
        self._answered_ns = 0
        self.raised = False
        self._parent_known = False
        self._send: Send | None = send

    @property
    def complete(self) -> bool:
        """Whether the last byte of the answer was handed over."""
        return self._answered_ns > 0

    def inherited_parent(self) -> Parent:
        if not self._parent_known:
            self._parent_known = True
            self.parent = remote_parent(self.scope["headers"])
        return self.parent

    def send(self, message: Message) -> Awaitable[None]:
        """Stands before the server's ``send``; returns its awaitable, so that no coroutine is added a message."""
        kind = message["type"]
        if kind == "http.response.body":
            if not message.get("more_body"):
                self._answered_ns = now_ns()
        elif kind == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), (b"x-trace-id", b"%032x" % self.ids()[0])]
        return self._send(message)  # type: ignore[misc]

    def finish(self) -> None:
        """Hand the span over; called once, when the application has returned."""
        self._send = None
        self.end_ns = self._answered_ns or now_ns()
        self._sink(self)

    def end(self, end_time: int | None = None) -> None:
        """A server span ends with its response, whoever calls ``end``."""


class TelemetryMiddleware:
    """Outermost of the application, outside its error handlers: what they answer and log belongs to the span."""

    def __init__(self, app: App, sink: Callable[[Span], None]) -> None:
        self.app = app
        self.sink = sink
        self.active = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in UNOBSERVED_PATHS:
            await self.app(scope, receive, send)
            return
        span = ServerSpan(scope, send, self.sink)
        token = context_api.attach(context_with(span))
        self.active += 1
        try:
            await self.app(scope, receive, span.send)
        except Exception as exception:
            span.raised = not span.complete  # after the answer it is a background task's failure, not the request's
            span.fail(exception)
            _logger.exception("unhandled exception")
            raise
        finally:
            self.active -= 1
            context_api.detach(token)
            span.finish()


def remote_parent(headers: list[tuple[bytes, bytes]]) -> SpanContext | None:
    """The caller's span as its ``traceparent`` and ``tracestate`` headers name it; None when absent or malformed."""
    found = state = None
    for name, value in headers:
        if name == b"traceparent":
            found = value
        elif name == b"tracestate":
            state = value
    if found is None:
        return None
    parent = parse_traceparent(found)
    if parent is None or state is None:
        return parent
    carrier = {"traceparent": found.decode("latin-1"), "tracestate": state.decode("latin-1")}
    return get_current_span(extract(carrier)).get_span_context()


def parse_traceparent(value: bytes) -> SpanContext | None:
    """W3C ``traceparent`` (version 00) as a remote span context; None when it is malformed."""
    match = _TRACEPARENT(value)
    if match is None:
        return None
    trace_id, span_id, flags = match.groups()
    return SpanContext(
        int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=_FLAGS[int(flags, 16) & TraceFlags.SAMPLED]
    )
