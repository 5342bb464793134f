"""How a process knows its callers, as its settings want it. Apart from ``identity``: not every process has callers."""

from __future__ import annotations

import httpx2

from service.edge.signin import Claims, TokenSignIn
from service.settings import Settings


def build_sign_in(issuer: httpx2.AsyncClient, settings: Settings) -> TokenSignIn | None:
    """None: nobody has to sign in."""
    if settings.sign_in == "off":
        return None
    scopes = tuple(name.strip() for name in settings.scope_claim.split(","))
    return TokenSignIn(issuer, settings.issuer_url, settings.audience, Claims(settings.user_claim, scopes))
