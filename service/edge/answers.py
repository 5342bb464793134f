"""What is put on every answer of the public API on its way out: one ASGI middleware, no body is rebuilt.

- headers that the gate noted for this request (``note_headers``), on errors too;
- the headers of an API version that ends one day;
- ``ETag`` on what was read, and 304 for a caller who has it already. A route that knows a better mark of its state,
  such as a row's version, sets the header itself; every other one is marked by a hash of the answer.

Knows no route and no resource.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Mapping, MutableMapping, Sequence
from hashlib import blake2b
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

Header = tuple[bytes, bytes]

_NOTED = "signalbox.headers"
_TAGS = re.compile(rb'(?:W/)?("[^"]*")')
# What a 304 leaves out: it has no body.
_OF_THE_BODY = frozenset({b"content-length", b"content-type"})


def note_headers(scope: MutableMapping[str, Any], headers: Sequence[Header]) -> None:
    """Put ``headers`` on the answer to this request, whatever it will be."""
    scope.setdefault(_NOTED, []).extend(headers)


class AnswerMiddleware:
    """Outside the routes, inside the telemetry. ``by_prefix``: headers for every path that starts with ``/v1/`` etc."""

    def __init__(self, app: ASGIApp, by_prefix: Mapping[str, Sequence[Header]]) -> None:
        self.app = app
        self._by_prefix = by_prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            prefix = scope["path"].split("/", 2)[1] if scope["path"].startswith("/") else ""
            send = _Answer(scope, send, self._by_prefix.get(prefix, ())).send
        await self.app(scope, receive, send)


class _Answer:
    """One answer under way."""

    __slots__ = ("_extra", "_held", "_scope", "_send")

    def __init__(self, scope: Scope, send: Send, extra: Sequence[Header]) -> None:
        self._scope = scope
        self._send = send
        self._extra = extra
        self._held: Message | None = None

    def send(self, message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            headers = [*message.get("headers", ()), *self._scope.get(_NOTED, ()), *self._extra]
            message["headers"] = headers
            if self._scope["method"] == "GET" and message["status"] == 200:
                self._held = message  # its headers depend on the body
                return _nothing()
        elif self._held is not None:
            return self._send_both(message)
        return self._send(message)

    async def _send_both(self, body: Message) -> None:
        start, self._held = self._held, None
        assert start is not None
        headers: list[Header] = start["headers"]
        tag = next((value for name, value in headers if name.lower() == b"etag"), None)
        if tag is None and not body.get("more_body"):
            tag = b'"%s"' % blake2b(body.get("body", b""), digest_size=12).hexdigest().encode()
            headers.append((b"etag", tag))
        if tag is not None and not body.get("more_body") and _has_already(self._scope["headers"], tag):
            kept = [header for header in headers if header[0].lower() not in _OF_THE_BODY]
            await self._send({**start, "status": 304, "headers": kept})
            await self._send({"type": "http.response.body", "body": b""})
            return
        await self._send(start)
        await self._send(body)


async def _nothing() -> None:
    pass


def _has_already(request_headers: Sequence[Header], tag: bytes) -> bool:
    """Whether ``If-None-Match`` names ``tag``; compared weakly, as RFC 9110 (13.1.2) wants it."""
    for name, value in request_headers:
        if name == b"if-none-match":
            return value.strip() == b"*" or tag.removeprefix(b"W/") in _TAGS.findall(value)
    return False
