"""The development issuer inside a test's own process."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
from fastapi import FastAPI

from service.issuer.http import build_router
from service.issuer.keys import SigningKeys

ISSUER = "http://issuer.test"
AUDIENCE = "signalbox"
CLIENT, SECRET = "signalbox", "a secret/with:signs"


class Issuer(httpx2.ASGITransport):
    """A transport of httpx that is the issuer; counts what it is asked, and can be away."""

    def __init__(self, name: str = ISSUER) -> None:
        self.name = name
        self.keys = SigningKeys()
        self.asked: list[str] = []
        self.away = False
        self.answers = asyncio.Event()
        self.answers.set()
        app = FastAPI()
        app.include_router(build_router(self.keys, name, AUDIENCE, (CLIENT, SECRET)))
        super().__init__(app)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if self.away:
            raise httpx2.ConnectError("away")
        self.asked.append(request.url.path)
        await self.answers.wait()
        return await super().handle_async_request(request)

    def token(self, **changes: Any) -> str:
        """A token of user 7's that may read orders, but for ``changes``; None takes a claim out."""
        claims = {"iss": self.name, "aud": AUDIENCE, "sub": "7", "scope": "orders:read", **changes}
        return self.keys.sign({name: value for name, value in claims.items() if value is not None}, 60)
