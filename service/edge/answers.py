"""What is put on every answer of the public API on its way out: one ASGI middleware, no body is rebuilt.

- headers that the gate noted for this request (``note_headers``), on errors too;
- the headers of an API version that ends one day;
- ``ETag`` on what was read, 304 for a caller who has it already, and 412 for one who wants it in another state only.
  A route that knows a better mark of its state, such as a row's version, sets the header itself; every other one is
  marked by a hash of the answer. A condition that cannot be read is none.

Knows no route and no resource.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from hashlib import blake2b
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.edge.conditions import InvalidCondition, names_strongly, names_weakly, parse_tags
from service.errors import NOTED_HEADERS, noted_headers, problem_response

Header = tuple[bytes, bytes]

# What a 304 leaves out: it has no body.
_OF_THE_BODY = frozenset({b"content-length", b"content-type"})


def note_headers(scope: MutableMapping[str, Any], headers: Sequence[Header]) -> None:
    """Put ``headers`` on the answer to this request, whatever it will be."""
    scope.setdefault(NOTED_HEADERS, []).extend(headers)


class AnswerMiddleware:
    """Outside the routes, inside the telemetry. ``by_prefix``: headers for every path that starts with ``/v1/`` etc."""

    def __init__(self, app: ASGIApp, by_prefix: Mapping[str, Sequence[Header]]) -> None:
        self.app = app
        self._by_prefix = by_prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            prefix = scope["path"].split("/", 2)[1] if scope["path"].startswith("/") else ""
            if ending := self._by_prefix.get(prefix):
                note_headers(scope, ending)
            send = _Answer(scope, receive, send).send
        await self.app(scope, receive, send)


class _Answer:
    """One answer under way."""

    __slots__ = ("_held", "_receive", "_scope", "_send")

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._held: Message | None = None

    def send(self, message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *noted_headers(self._scope, message["status"])]
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
        asked = None if tag is None or body.get("more_body") else self._scope["headers"]
        if asked and tag and _asks(asked, b"if-match", tag, names_strongly) is False:
            said = "it is not in the state that If-Match names"
            status = HTTPStatus.PRECONDITION_FAILED
            refusal = problem_response(Request(self._scope), status, "precondition-failed", said)
            await refusal(self._scope, self._receive, self.send)
            return
        if asked and tag and _asks(asked, b"if-none-match", tag, names_weakly):
            kept = [header for header in headers if header[0].lower() not in _OF_THE_BODY]
            await self._send({**start, "status": 304, "headers": kept})
            await self._send({"type": "http.response.body", "body": b""})
            return
        await self._send(start)
        await self._send(body)


async def _nothing() -> None:
    pass


def _asks(
    headers: Sequence[Header], name: bytes, tag: bytes, names: Callable[[frozenset[str], str], bool]
) -> bool | None:
    """Whether the condition ``name`` names ``tag``; None when there is none."""
    given = [value for header, value in headers if header == name]
    if not given:
        return None
    try:
        return names(parse_tags(b",".join(given).decode("latin-1")), tag.decode("latin-1"))
    except InvalidCondition:
        return None
