"""HEAD is GET without the body (RFC 9110, 9.3.2): routes are written for GET, and answer both.

Inside, the request is a GET, so that headers come out the same, ``ETag`` and 304 among them. To the server and to
telemetry it is what it was: the server leaves the body out of its answer to a HEAD.
"""

from __future__ import annotations

from collections.abc import Awaitable

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class HeadMiddleware:
    """Outside everything that asks for the method, inside the telemetry."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("method") != "HEAD":
            await self.app(scope, receive, send)
            return

        def send_as_head(message: Message) -> Awaitable[None]:
            scope["method"] = "HEAD"  # the server looks here
            return send(message)

        scope["method"] = "GET"
        try:
            await self.app(scope, receive, send_as_head)
        finally:
            scope["method"] = "HEAD"
