"""One local backend that is written to: POST requests, tried again while it is only busy.

Owns HTTP and what a refusal means to a person. Refuses to know what is sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import httpx

TIMEOUT_S = 180.0
TRIES = 6
LONGEST_PAUSE_S = 10.0
_AGAIN = (429, 500, 502, 503, 504)


class ReplayError(Exception):
    """A replay that cannot go on; the text says why and what to do."""


class Receiver:
    """The receiving side of one backend."""

    def __init__(self, name: str, url: str, client: httpx.AsyncClient) -> None:
        self.name = name
        self.url = url.rstrip("/")
        self._client = client

    async def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> None:
        """Send a body. Raises ReplayError."""
        why = ""
        for attempt in range(TRIES):
            if attempt:
                await asyncio.sleep(min(0.5 * 2**attempt, LONGEST_PAUSE_S))
            try:
                answer = await self._client.post(self.url + path, content=body, headers=dict(headers))
            except httpx.HTTPError as error:
                why = f"no answer ({type(error).__name__})"
                continue
            if answer.is_success:
                return
            why = f"{answer.status_code}: {' '.join(answer.text[:200].split())}"
            if answer.status_code == httpx.codes.NOT_FOUND:
                why += ". Bring the stack up again with this version: it has no receiver for replays"
            if answer.status_code not in _AGAIN:
                break
        raise ReplayError(f"{self.name} at {self.url} does not take it: {why}")
