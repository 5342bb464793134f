"""Read your own writes, over HTTP: a cookie that says up to where the caller must be answered from.

After a request that wrote, the answer carries the position of the database's log; with it, reads go to the replica
only once that has replayed so far. Clients that keep cookies need to do nothing, others send the cookie back. It is a
position in a log and no secret; who makes one up only has his reads sent to the primary. Owns the cookie. Which reads
go where is decided by ``data.replica``.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.data.replica import Writes, own_writes

COOKIE = "last_write"
# Long enough for a replica to come back that was away; one that lags for longer gets no reads at all.
MAX_AGE_S = 300

_FIND = re.compile(rb"(?:^|;\s*)last_write=([0-9a-f]{1,16})(?:;|$)").search
_READS = ("GET", "HEAD", "OPTIONS")


class OwnWritesMiddleware:
    """Reads the cookie of every request, and sets it on answers to requests that wrote.

    ``position`` tells where the database's log ends now.
    """

    def __init__(self, app: ASGIApp, position: Callable[[], Awaitable[int]]) -> None:
        self._app = app
        self._position = position

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        writes = Writes(_position_of(scope))
        token = own_writes.set(writes)

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start" and writes.written:
                message["headers"] = [*message.get("headers", ()), (b"set-cookie", await self._cookie(writes))]
            await send(message)

        try:
            await self._app(scope, receive, send if scope["method"] in _READS else send_on)
        finally:
            own_writes.reset(token)

    async def _cookie(self, writes: Writes) -> bytes:
        try:
            position = await self._position()
        except Exception:  # what was asked for is done, and must not fail for this
            position = writes.position
        return b"%s=%x; Path=/; Max-Age=%d; HttpOnly; SameSite=Lax" % (COOKIE.encode(), position, MAX_AGE_S)


def _position_of(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"cookie" and (found := _FIND(value)):
            return int(found[1], 16)
    return 0
