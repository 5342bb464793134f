"""How a process makes itself known to others, as its settings want it and its telemetry sees it."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable

import httpx2

from service.own_token import OwnToken
from service.secrets import Rotating, build_secrets
from service.settings import Settings
from service.telemetry import NullTelemetry, Telemetry


def build_issuer_client(tel: Telemetry | NullTelemetry) -> httpx2.AsyncClient:
    """An HTTP client for the issuer."""
    client = httpx2.AsyncClient()
    tel.instrument_http_client(client, peer="issuer")
    return client


def build_own_token(issuer: httpx2.AsyncClient, settings: Settings, tel: Telemetry | NullTelemetry) -> OwnToken | None:
    """What this process asks payments with. None: it was given no secret to get one."""
    if not settings.client_secret:
        return None
    return OwnToken(
        issuer,
        settings.issuer_url,
        settings.client_id,
        _client_secret(settings, tel),
        scope=settings.payments_scope,
        audience=settings.audience,
    )


def _client_secret(settings: Settings, tel: Telemetry | NullTelemetry) -> Callable[[], Awaitable[str]]:
    async def told() -> str:
        return settings.client_secret

    if not settings.secrets:
        return told
    place = build_secrets(settings.secrets, os.environ, tel.instrument_http_client)
    return Rotating(place, "client_secret", settings.client_secret)
