"""A small HTTP/1.1 client for traffic: keep-alive connections, one request at a time on each, a bounded number.

Owns sockets and framing for the load generator and the prober, where a general client would cost more CPU than
the system under load. Refuses to know routes, schedules and outcomes, TLS, redirects and compression.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

import httptools

_IDLE_LIMIT_S = 20.0
"""Connections idle for longer are not used again: well below the idle time of the gateways in use (Caddy: 5 min)."""


class NoAnswer(Exception):
    """The request got no complete answer. `reason` is one of: connect, timeout, disconnect, protocol."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete response: status, body, and the trace id that the service put into `x-trace-id`."""

    status: int
    body: bytes
    trace_id: str | None


class _Connection(asyncio.Protocol):
    """One keep-alive connection; httptools calls the on_* methods while parsing."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.reusable = False
        self.idle_since = 0.0
        self._parser: httptools.HttpResponseParser | None = None
        self._waiter: asyncio.Future[Answer] | None = None
        self._body: list[bytes] = []
        self._trace_id: str | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.reusable = False
        self._fail("disconnect")

    def data_received(self, data: bytes) -> None:
        if self._parser is None:
            self.close()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._fail("protocol")
            self.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"x-trace-id":
            self._trace_id = value.decode("ascii", "replace")

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        assert self._parser is not None
        status = self._parser.get_status_code()
        if status < 200:  # 1xx: the answer proper is still to come
            self._body.clear()
            return
        self.reusable = self._parser.should_keep_alive()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(Answer(status, b"".join(self._body), self._trace_id))
        self._parser = None

    def send(self, request: bytes) -> asyncio.Future[Answer]:
        assert self.transport is not None
        self.reusable = False
        self._parser = httptools.HttpResponseParser(self)
        self._body.clear()
        self._trace_id = None
        self._waiter = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self._waiter

    def close(self) -> None:
        self.reusable = False
        if self.transport is not None:
            self.transport.abort()

    def _fail(self, reason: str) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(NoAnswer(reason))


class TrafficClient:
    """Sends requests to one `http://` address over at most `max_connections` connections.

    Callers beyond that number wait for a free one, and the wait counts against their time limit.
    """

    def __init__(self, base_url: str, *, user_agent: str, max_connections: int, timeout_s: float) -> None:
        parts = urlsplit(base_url)
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"{base_url!r} is not an http:// address")
        self._host, self._port = parts.hostname, parts.port or 80
        self._prefix = parts.path.rstrip("/")
        self._head = f"Host: {parts.netloc}\r\nUser-Agent: {user_agent}\r\nAccept: application/json\r\n"
        self._authorization = ""
        self._idle: deque[_Connection] = deque()
        self._busy: set[_Connection] = set()
        self._places = asyncio.Semaphore(max_connections)
        self._timeout_s = timeout_s

    def sign_in(self, token: str) -> None:
        """Send `token` with every request from now on."""
        self._authorization = f"Authorization: Bearer {token}\r\n"

    async def send(self, method: str, path: str, body: bytes | None = None) -> Answer:
        """Send one request and return its answer; raise NoAnswer when none came within the time limit.

        Nothing is ever sent twice: what was lost on the way is the caller's to count.
        """
        try:
            async with asyncio.timeout(self._timeout_s), self._places:
                return await self._exchange(self._encode(method, path, body))
        except TimeoutError:
            raise NoAnswer("timeout") from None

    async def close(self) -> None:
        """Close every connection, those in use too."""
        for connection in (*self._idle, *self._busy):
            connection.close()
        self._idle.clear()

    def _encode(self, method: str, path: str, body: bytes | None) -> bytes:
        head = f"{method} {self._prefix}{path} HTTP/1.1\r\n{self._head}{self._authorization}"
        if body is None:
            return f"{head}\r\n".encode()
        return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body

    async def _exchange(self, request: bytes) -> Answer:
        connection = await self._take()
        self._busy.add(connection)
        try:
            return await connection.send(request)
        finally:
            self._busy.discard(connection)
            if connection.reusable:
                connection.idle_since = asyncio.get_running_loop().time()
                self._idle.append(connection)
            else:
                connection.close()

    async def _take(self) -> _Connection:
        loop = asyncio.get_running_loop()
        while self._idle:
            connection = self._idle.pop()  # the one used last: the others may age and be closed
            if connection.reusable and loop.time() - connection.idle_since < _IDLE_LIMIT_S:
                return connection
            connection.close()
        try:
            _, connection = await loop.create_connection(_Connection, self._host, self._port)
        except OSError:
            raise NoAnswer("connect") from None
        return connection
