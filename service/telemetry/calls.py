"""Outbound HTTP calls of httpx2, or httpx, as client spans and durations. Headers and bodies are never recorded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from opentelemetry.trace import StatusCode

from service.telemetry import catalog, otlp
from service.telemetry.instruments import Distribution, Instruments
from service.telemetry.outcome import classify_call
from service.telemetry.pipeline import CallSpan
from service.telemetry.spans import Span, current_span, enter, leave

_STATUS = "http.response.status_code"


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
        try:
            response = await send(request, **options)
            span.set_attribute(_STATUS, response.status_code)
            if response.status_code >= 400:  # semantic conventions: any 4xx or 5xx is an error to the client
                span.error_type = str(response.status_code)
                span.set_status(StatusCode.ERROR)
            return response
        except Exception as exception:
            span.fail(exception)
            raise
        finally:
            leave(token)
            span.end()

    client.send = recorded_send
