"""The one ASGI middleware: it wraps a request in a server span and does nothing else before the answer is out.

Inside the request: one object, two clock reads, one context variable set and reset, one append. Everything that can
wait (route, ids of the caller, metrics, log line, bytes) is ``pipeline``'s work on finished spans.

Owns the life of a server span. Knows nothing of metrics, logs or exporters.
"""

from __future__ import annotations

import logging
import re
import traceback
from binascii import hexlify, unhexlify
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, TraceState
from starlette._utils import get_route_path  # what the router itself uses
from starlette.requests import ClientDisconnect

from service.telemetry.catalog import REQUEST_ID_HEADER
from service.telemetry.spans import (
    SPAN_KEY,
    Ids,
    Parent,
    RemoteParent,
    Span,
    draw,
    draw_request_id,
    get_context,
    now_ns,
    reset_context,
    set_context,
)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


_NO_SCOPE: Scope = {}
_BACKGROUND = ("starlette.background", "fastapi.background")  # where background tasks are run
_logger = logging.getLogger("service.http")
_TRACEPARENT = re.compile(rb"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}").fullmatch
# Short, and nothing that would mean something in a log line or a header.
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}").fullmatch
_RAW_REQUEST_ID = REQUEST_ID_HEADER.encode()


class ServerSpan(Span):
    """The span of one HTTP request.

    ``status``: what was sent, 0 until then. ``raised``: the application ended without having answered, mostly by an
    exception. ``notes``: what its line is to say beside what all lines say, words of short lists.
    ``scope`` is let go when the request is over: what is kept longer is memory that the next request would have found
    warm, and work for the garbage collector. ``method`` and ``route`` (its template) are what is left of it, or
    ``unreadable``, which says why the route could not be told.
    """

    name = ""
    kind = SpanKind.SERVER
    parent: Parent = None
    method = route = ""
    status = 0
    raised = False
    notes: Mapping[str, str] | None = None
    unreadable: Exception | None = None
    _answered_ns = 0

    def __init__(self, scope: Scope, send: Send, sink: Callable[[Span], None]) -> None:
        self.scope = scope
        self._send: Send | None = send
        self._sink = sink
        self.start_ns = now_ns()

    @property
    def complete(self) -> bool:
        """Whether the last byte of the answer was handed over."""
        return self._answered_ns > 0

    def ids(self) -> Ids:
        """As ``Span.ids``; the request is asked for its parent and its name only now."""
        if self._ids is None:
            told, parent, given = dict(self.scope["headers"]), None, ""
            if b"traceparent" in told or _RAW_REQUEST_ID in told:
                parent, given = read_headers(told)
            if parent is None:
                drawn = draw(192).to_bytes(24, "big")
                ids = drawn[:16], drawn[16:]
                name = given or drawn[:16].hex()
            else:
                ids = parent.trace_id, draw(64).to_bytes(8, "big")
                name = given or draw_request_id()  # there may be other requests in the trace
            with self._publishing:
                if self._ids is None:
                    self.parent, self.own_request_id, self._ids = parent, name, ids
        return self._ids

    def request_id(self) -> str:
        self.ids()
        return self.own_request_id

    def send(self, message: Message) -> Awaitable[None]:
        """Stands before the server's ``send``; returns its awaitable, so that no coroutine is added a message."""
        kind = message["type"]
        if kind == "http.response.body":
            if not message.get("more_body") and (message.get("body") or not self._cut_off()):
                self._answered_ns = now_ns()
        elif kind == "http.response.start":
            self.status = message["status"]
            trace_id = self.ids()[0].hex().encode()  # as ``names``, without another function in the request's way
            names = (b"x-trace-id", trace_id), (_RAW_REQUEST_ID, self.own_request_id.encode())
            message["headers"] = [*message.get("headers", ()), *names]
        elif kind == "http.response.pathsend":  # the server reads the file itself: the answer is whole
            self._answered_ns = now_ns()
        return self._send(message)  # type: ignore[misc]

    def names(self) -> tuple[tuple[bytes, bytes], tuple[bytes, bytes]]:
        """Headers that say under which names the request can be looked up."""
        return (b"x-trace-id", hexlify(self.ids()[0])), (_RAW_REQUEST_ID, self.own_request_id.encode())

    def _cut_off(self) -> bool:
        """Whether the client left in the middle of a stream, whose end is sent all the same. uvicorn knows."""
        cycle = getattr(self._send, "__self__", None)
        return getattr(cycle, "disconnected", False) and getattr(cycle, "response_started", False)

    def _forgotten(self) -> bool:
        """Whether the application has returned without a whole answer to a client that still waits for it."""
        return not getattr(getattr(self._send, "__self__", None), "disconnected", True)

    def escaped(self, exception: Exception) -> None:
        """``exception`` has left the application. What it says of the request depends on how far the answer was."""
        if isinstance(exception, ClientDisconnect):  # an error page that was sent after that has reached nobody
            self.status = self.status if self.status < 500 else 0
            self._answered_ns = 0
            return
        if self.complete and in_background(exception):
            later = Span("after response", SpanKind.INTERNAL, self, self._sink)
            later.start_ns = self._answered_ns
            later.fail(exception)
            later.end()
        else:
            # With an error page the answer is whole and tells; with anything else it was cut short.
            self.raised = not self.complete or self.status < 500
            self.fail(exception)
        _logger.exception("unhandled exception")

    def finish(self, template: Callable[[Scope], str]) -> None:
        """Hand the span over; called once, when the application has returned. ``template``: the route of a scope."""
        if not self._answered_ns:
            self.raised = self.raised or self._forgotten()
        scope = self.scope
        self.ids()  # while the headers are there
        try:
            self.method, self.route = scope.get("method", "GET"), template(scope)  # a WebSocket's scope names none
        except Exception as problem:  # telemetry never raises into a request
            self.unreadable = problem
        self.scope, self._send = _NO_SCOPE, None
        self.end_ns = self._answered_ns or now_ns()
        self._sink(self)

    def end(self, end_time: int | None = None) -> None:
        """A server span ends with its response, whoever calls ``end``."""


class TelemetryMiddleware:
    """Outermost of the application, outside its error handlers: what they answer and log belongs to the span.

    ``unobserved``: paths that leave no trace, and who answers them.
    """

    def __init__(
        self,
        app: App,
        sink: Callable[[Span], None],
        template: Callable[[Scope], str],
        websocket: App,
        unobserved: Mapping[str, App],
    ) -> None:
        self.app = app
        self.sink = sink
        self.template = template
        self.websocket = websocket
        self.unobserved = unobserved
        self.active = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await (self.websocket if scope["type"] == "websocket" else self.app)(scope, receive, send)
            return
        path = get_route_path(scope) if scope.get("root_path") else scope["path"]
        if path in self.unobserved:
            await self.unobserved[path](scope, receive, send)
            return
        span = ServerSpan(scope, send, self.sink)
        # What ``enter`` and ``leave`` do: in a request each function is found in cold memory, at a microsecond's cost.
        current = get_context()
        token = set_context(Context({**current, SPAN_KEY: span}) if current else Context({SPAN_KEY: span}))
        self.active += 1
        try:
            await self.app(scope, receive, span.send)
        except Exception as exception:
            span.escaped(exception)
            raise
        finally:
            self.active -= 1
            reset_context(token)
            span.finish(self.template)


def in_background(exception: BaseException) -> bool:
    """Whether ``exception`` comes from a background task: a failure of its own, the request was answered before."""
    frames = traceback.walk_tb(exception.__traceback__)
    return any(frame.f_globals.get("__name__") in _BACKGROUND for frame, _ in frames)


def read_headers(told: Mapping[bytes, bytes]) -> tuple[RemoteParent | None, str]:
    """Where a request comes from: the caller's span (``traceparent``, ``tracestate``), None when absent or malformed,
    and what the request is called (``x-request-id``), empty when it has no name or one that is none.
    """
    name, found = told.get(_RAW_REQUEST_ID), told.get(b"traceparent")
    parent = None if found is None else parse_traceparent(found)
    if parent is not None and (state := told.get(b"tracestate")) is not None:
        parent = parent._replace(state=TraceState.from_header([state.decode("latin-1")]))
    return parent, "" if name is None else parse_request_id(name)


def parse_request_id(value: bytes) -> str:
    """A request's name as somebody else gave it; empty when it is none that may be written down."""
    return value.decode() if _REQUEST_ID(value) else ""


def parse_traceparent(value: bytes) -> RemoteParent | None:
    """W3C ``traceparent`` (version 00) as a parent; None when it is malformed."""
    match = _TRACEPARENT(value)
    if match is None:
        return None
    return RemoteParent(unhexlify(match[1]), unhexlify(match[2]))
