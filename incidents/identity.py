"""Who the load and the prober are: a token of the system's development issuer, asked for over HTTP.

Owns that one request. Refuses to know what the token says.
"""

from __future__ import annotations

import json

from incidents.wire import NoAnswer, TrafficClient

PATH = "/development/service-token"
TIMEOUT_S = 5.0
REFRESH_S = 3600.0
"""A token is good for a day; who runs for longer asks again this often."""


async def fetch_token(issuer_url: str) -> str | None:
    """An access token, or None where nobody issues one: then requests go out unsigned, and what comes back tells."""
    if not issuer_url:
        return None
    try:
        client = TrafficClient(issuer_url, user_agent="signalbox", max_connections=1, timeout_s=TIMEOUT_S)
    except ValueError:
        return None
    try:
        answer = await client.send("POST", PATH, b"")
        return str(json.loads(answer.body)["access_token"]) if answer.status == 200 else None
    except (NoAnswer, ValueError, KeyError, TypeError):
        return None
    finally:
        await client.close()
