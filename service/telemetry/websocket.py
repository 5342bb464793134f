"""WebSocket connections: the handshake is a request like any other, the connection after it is a span of its own.

The handshake is counted, measured and logged when it is answered (101, or what refused it), not when the connection
ends hours later. The connection's span holds the handshake's and whatever the application does meanwhile; when it
ends it is measured and logged. Owns both. Messages are never recorded, nor is their number.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from opentelemetry.trace import SpanKind
from starlette.websockets import WebSocketDisconnect

from service.telemetry.catalog import REQUEST_ID_ATTRIBUTE
from service.telemetry.instruments import Instruments
from service.telemetry.middleware import App, Message, Receive, Scope, Send, ServerSpan, read_headers
from service.telemetry.spans import Span, draw_request_id, enter, leave, now_ns

_logger = logging.getLogger("service.websocket")
_REFUSED = 403  # what a server answers when the application closes before it accepts (ASGI specification)
# RFC 6455, section 7.4.1: closed in order; gone without a close frame; the server met what it did not expect.
_NORMAL, _ABNORMAL, _INTERNAL_ERROR = 1000, 1006, 1011


class WebSocketTelemetry:
    """Stands where the HTTP middleware stands, for ``websocket`` scopes. ``template`` tells the route of a scope."""

    def __init__(
        self, app: App, sink: Callable[[Span], None], template: Callable[[Scope], str], instruments: Instruments
    ) -> None:
        self._app = app
        self._sink = sink
        self._template = template
        self._durations = instruments.websocket_duration
        self.open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection = Connection(scope, receive, send, self._sink, self._template)
        token = enter(connection.span)
        self.open += 1
        try:
            await self._app(scope, connection.receive, connection.send)
        except WebSocketDisconnect:  # the other side left while the application waited for it: an ordinary end
            raise
        except Exception as exception:
            connection.fail(exception)
            _logger.exception("unhandled exception")
            raise
        finally:
            self.open -= 1
            connection.answer(0)
            self._record(connection)
            leave(token)
            connection.span.end()

    def _record(self, connection: Connection) -> None:
        """Name the span by its route; measure and log a connection that was one."""
        span, route = connection.span, self._template(connection.scope)
        span.update_name(f"WEBSOCKET {route}")
        span.set_attributes({"http.route": route, "network.protocol.name": "websocket"})
        span.set_attribute(REQUEST_ID_ATTRIBUTE, span.own_request_id)
        if not connection.accepted_ns:
            return
        span.set_attribute("websocket.close.code", connection.close_code)
        outcome = "bad" if span.error_type else "good"
        seconds = connection.age_s()
        self._durations.labels(route, outcome).observe(seconds)
        _logger.log(
            logging.ERROR if span.error_type else logging.INFO,
            "WEBSOCKET %s %d",
            route,
            connection.close_code,
            extra={
                "http.route": route,
                "websocket.close.code": connection.close_code,
                "websocket.connection.duration": round(seconds, 6),
                "outcome": outcome,
            },
        )


class Connection:
    """One connection: its span, its handshake, and how it was closed."""

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        sink: Callable[[Span], None],
        template: Callable[[Scope], str],
    ) -> None:
        self.scope = scope
        self._template = template
        parent, request_id = read_headers(dict(scope["headers"]))
        self.span = Span("WEBSOCKET", SpanKind.SERVER, parent, sink)
        self.span.own_request_id = request_id or draw_request_id()
        self.accepted_ns = 0
        self.close_code = _ABNORMAL
        self._handshake: Handshake | None = Handshake(scope, send, sink, self.span)
        self._receive = receive
        self._send = send

    def age_s(self) -> float:
        """Seconds since the connection was accepted."""
        return (now_ns() - self.accepted_ns) / 1e9

    def fail(self, exception: Exception) -> None:
        """The application ended with an exception, which ends the connection."""
        self.span.fail(exception)
        self.close_code = _INTERNAL_ERROR

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            self.close_code = message.get("code") or self.close_code
        return message

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "websocket.accept":
            names = self._handshake.names() if self._handshake else ()
            message["headers"] = [*(message.get("headers") or ()), *names]
            self.accepted_ns = now_ns()
            self.answer(101)
        elif kind == "websocket.close":
            self.close_code = message.get("code") or _NORMAL
            self.answer(_REFUSED)
        elif kind == "websocket.http.response.start":
            self.answer(message["status"])
        await self._send(message)

    def answer(self, status: int) -> None:
        """The handshake is over; the first answer counts. 0: there was none before the application returned."""
        handshake, self._handshake = self._handshake, None
        if handshake is None:
            return
        if status:
            handshake.answered(status)
        elif self.span.error_type:
            handshake.raised = True
            handshake.error_type = self.span.error_type
        handshake.finish(self._template)


class Handshake(ServerSpan):
    """The request that asks for the connection, child of the connection's span."""

    def __init__(self, scope: Scope, send: Send, sink: Callable[[Span], None], connection: Span) -> None:
        ServerSpan.__init__(self, scope, send, sink)
        self.parent = connection
        self.own_request_id = connection.own_request_id

    def ids(self) -> tuple[bytes, bytes]:
        return Span.ids(self)

    def answered(self, status: int) -> None:
        """The answer is on its way."""
        self.status = status
        self._answered_ns = now_ns()
