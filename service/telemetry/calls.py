"""Outbound HTTP calls of httpx2, or httpx, as client spans and durations, and how long each waited for a connection.

Headers and bodies are never recorded. The waiting is read off the ``trace`` extension, the client's own way to say what
it does with a request: until it begins to send the head, it waits for a free connection or makes a new one. How many
connections there are it tells nobody.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any, Protocol

from opentelemetry.trace import StatusCode

from service.telemetry import catalog, otlp
from service.telemetry.instruments import Distribution, Instruments, Tally
from service.telemetry.outcome import classify_call
from service.telemetry.pipeline import CallSpan
from service.telemetry.spans import Span, current_span, enter, leave

_STATUS = "http.response.status_code"
_TRACE = "trace"  # the extension's name
_HAS_CONNECTION = ".send_request_headers.started"  # after the protocol's name

Tell = Callable[[str, Any], Awaitable[None]]


class HttpClient(Protocol):
    """An ``AsyncClient`` of httpx2, or of httpx, which it came from."""

    send: Any


class PeerShape:
    """One method of one HTTP peer."""

    def __init__(self, method: str, host: str, port: int, peer: str, instruments: Instruments) -> None:
        self.name = method
        attributes: dict[str, object] = {"http.request.method": method, "server.address": host, "server.port": port}
        if peer:
            attributes["peer.service"] = peer
        self.encoded = otlp.SpanShape(method, 3, attributes)
        self._labels = (peer, host, method)
        self._durations = instruments.http_client_duration
        self._children: dict[tuple[int, str], Distribution] = {}
        self.queued = instruments.tally(instruments.http_client_queued.labels(peer, host), catalog.CALL_SECONDS)

    def measure(self, span: Span) -> Distribution:
        status = (span.attributes or {}).get(_STATUS, 0)
        key = (status, classify_call(status, raised=not status))
        child = self._children.get(key)
        if child is None:
            many = len(self._children) >= catalog.MAX_PEER_ANSWERS
            told = "other" if many else str(status or "error")
            child = Distribution(self._durations.labels(*self._labels, told, key[1]), catalog.REQUEST_SECONDS)
            if not many:
                self._children[key] = child
        return child


class Queued:
    """How long one request waits for a connection, told by its ``trace`` extension; the one that it had is told too."""

    __slots__ = ("_next", "_request", "_since", "_waits")

    def __init__(self, request: Any, waits: Tally) -> None:
        self._request = request
        self._waits: Tally | None = waits
        self._next: Tell | None = request.extensions.get(_TRACE)
        request.extensions = {**request.extensions, _TRACE: self._tell}
        self._since = perf_counter()

    async def _tell(self, event: str, details: Any) -> None:
        if event.endswith(_HAS_CONNECTION):
            self.over()
            if self._next is None:  # no more need be told: what follows costs more than all before
                self._request.extensions.pop(_TRACE, None)
        if self._next is not None:
            await self._next(event, details)

    def over(self) -> None:
        """The waiting ends, with a connection or without; only the first time counts."""
        if self._waits is not None:
            self._waits.note(perf_counter() - self._since)
            self._waits = None


def instrument_http_client(
    client: HttpClient, instruments: Instruments, sink: Callable[[Span], None], *, peer: str = ""
) -> None:
    """Record every request of ``client``; it passes the trace and the name of the request that it is made for on.

    ``peer``: the service it is for.
    """
    shapes: dict[tuple[str, str, int], PeerShape] = {}
    send = client.send

    async def recorded_send(request: Any, **options: Any) -> Any:
        url = request.url
        key = (request.method, url.host, url.port or (443 if url.scheme == "https" else 80))
        shape = shapes.get(key)
        if shape is None:
            if len(shapes) >= catalog.MAX_PEERS:
                key = (request.method if request.method in catalog.STANDARD_METHODS else "", catalog.OTHER_PEER, 0)
            shape = shapes.get(key) or shapes.setdefault(key, PeerShape(*key, peer, instruments))
        span = CallSpan(shape, current_span(), sink)
        request.headers["traceparent"] = span.traceparent()
        if request_id := span.request_id():
            request.headers[catalog.REQUEST_ID_HEADER] = request_id
        token = enter(span)
        extensions = request.extensions
        queued = Queued(request, shape.queued)
        try:
            response = await send(request, **options)
            span.set_attribute(_STATUS, response.status_code)
            if response.status_code >= 400:  # semantic conventions: any 4xx or 5xx is an error to the client
                span.error_type = str(response.status_code)
                span.set_status(StatusCode.ERROR)
            return response
        except BaseException as exception:
            queued.over()  # nothing was sent: it has waited in vain
            if isinstance(exception, Exception):
                span.fail(exception)
            raise
        finally:
            request.extensions = extensions
            leave(token)
            span.end()

    client.send = recorded_send
