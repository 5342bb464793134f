"""Who the load and the prober are: a token of the system's development issuer, asked for over HTTP.

Owns that one request. Refuses to know what the token says.
"""

from __future__ import annotations

import httpx

PATH = "/development/service-token"
TIMEOUT_S = 5.0
REFRESH_S = 3600.0
"""A token is good for a day; who runs for longer asks again this often."""


async def fetch_token(issuer_url: str) -> str | None:
    """An access token, or None where nobody issues one: then requests go out unsigned, and what comes back tells."""
    if not issuer_url:
        return None
    try:
        async with httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False) as client:
            answer = await client.post(f"{issuer_url.rstrip('/')}{PATH}")
            return str(answer.raise_for_status().json()["access_token"])
    except (httpx.HTTPError, ValueError, KeyError):
        return None
