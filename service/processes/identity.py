"""How a process knows its callers, as its settings want it and its telemetry sees it."""

from __future__ import annotations

import httpx

from service.edge.signin import Claims, TokenSignIn
from service.settings import Settings
from service.telemetry import NullTelemetry, Telemetry


def build_issuer_client(tel: Telemetry | NullTelemetry) -> httpx.AsyncClient:
    """An HTTP client for the issuer."""
    client = httpx.AsyncClient()
    tel.instrument_http_client(client, peer="issuer")
    return client


def build_sign_in(issuer: httpx.AsyncClient, settings: Settings) -> TokenSignIn | None:
    """None: nobody has to sign in."""
    if settings.sign_in == "off":
        return None
    scopes = tuple(name.strip() for name in settings.scope_claim.split(","))
    return TokenSignIn(issuer, settings.issuer_url, settings.audience, Claims(settings.user_claim, scopes))
