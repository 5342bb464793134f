"""What an issuer tells of itself: its discovery document (OpenID Connect Discovery 1.0).

Owns where the document is and that it has to be the issuer's own. Knows nothing of keys or tokens.
"""

from __future__ import annotations

from typing import Any

import httpx2

from service.json_answers import read_json


async def discover(client: httpx2.AsyncClient, issuer: str) -> dict[str, Any]:
    """The document of ``issuer``, whose name may end in a slash. Raises ``httpx2.HTTPError``, ``ValueError``."""
    document = await get_json(client, f"{issuer.removesuffix('/')}/.well-known/openid-configuration")
    if document.get("issuer") != issuer:  # to the letter, as in tokens
        raise ValueError("the discovery document is another issuer's")
    return document


async def get_json(client: httpx2.AsyncClient, url: str) -> dict[str, Any]:
    """The JSON object at ``url``. Raises ``httpx2.HTTPError``, ``ValueError``."""
    return read_object(await client.get(url))


def read_object(answer: httpx2.Response) -> dict[str, Any]:
    """The JSON object that was answered. Raises ``httpx2.HTTPError``, ``ValueError``."""
    answer.raise_for_status()
    document = read_json(answer)
    if not isinstance(document, dict):
        raise ValueError("no JSON object")
    return document
