"""How a process makes itself known to others, as its settings want it and its telemetry sees it."""

from __future__ import annotations

import os

import httpx

from service.own_token import OwnToken
from service.secrets import Rotating, build_secrets
from service.settings import Settings
from service.telemetry import NullTelemetry, Telemetry


def build_issuer_client(tel: Telemetry | NullTelemetry) -> httpx.AsyncClient:
    """An HTTP client for the issuer."""
    client = httpx.AsyncClient()
    tel.instrument_http_client(client, peer="issuer")
    return client


def build_own_token(issuer: httpx.AsyncClient, settings: Settings) -> OwnToken | None:
    """What this process asks payments with. None: it was given no secret to get one."""
    if not settings.client_secret:
        return None

    async def secret() -> str:
        return settings.client_secret

    return OwnToken(
        issuer,
        settings.issuer_url,
        settings.client_id,
        Rotating(build_secrets(settings.secrets, os.environ), "client_secret") if settings.secrets else secret,
        scope=settings.payments_scope,
        audience=settings.audience,
    )
