"""A token of our own, with which one process asks another: OAuth 2 client credentials (RFC 6749, 4.4).

Owns when a token is fetched: at its first use, then by one task in the background once four fifths of its life are
over, so that an issuer that is away for a while is noticed by nobody. Only who has no token that is good waits, within
his own deadline. The issuer is asked at most once in ``PAUSE_S`` whatever happens: a tighter limit than a circuit
breaker and a budget of retries. Knows nothing of what the token is for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any
from urllib.parse import quote

import httpx2

from service import deadline, telemetry
from service.discovery import discover, read_object
from service.errand import Errand
from service.errors import Unavailable

PAUSE_S = 1.0
FETCH_TIMEOUT_S = 2.0
RENEW_AT_RATIO = 0.8
# Not used in its last seconds: it has to get there, and clocks differ.
MARGIN_S = 10.0
MARGIN_RATIO = 0.1
# Of a token whose issuer does not say (RFC 6749 only recommends it).
LIFE_S = 300.0


class TokenUnavailable(Unavailable):
    """There is no token that is good, and the issuer gives none."""

    kind = "token-unavailable"


class OwnToken:
    """The token of the client ``client_id``, for ``scope`` at ``audience``. ``secret`` is asked for every new one."""

    def __init__(
        self,
        client: httpx2.AsyncClient,
        issuer: str,
        client_id: str,
        secret: Callable[[], Awaitable[str]],
        *,
        scope: str,
        audience: str,
    ) -> None:
        self._client = client
        self._issuer = issuer
        self._client_id = client_id
        self._secret = secret
        # Some issuers want to know for whom a token shall be (Auth0); others pass over what they do not know.
        self._form = {"grant_type": "client_credentials", "scope": scope, "audience": audience}
        self._errand = Errand(self._fetch)
        self._token = ""
        self._renew_at = self._good_until = 0.0
        self._log = telemetry.logger(__name__)

    async def get(self) -> str:
        """A token that is good. Raises ``TokenUnavailable``, and ``DeadlineExceeded`` when there is no time to wait."""
        if monotonic() >= self._renew_at:
            asking = self._errand.start(PAUSE_S)
            if asking is not None and monotonic() >= self._good_until:
                await asyncio.wait({asking}, timeout=deadline.left_s(at_most=FETCH_TIMEOUT_S))
        if monotonic() >= self._good_until:
            raise TokenUnavailable("the issuer gives us no token")
        return self._token

    def refuse(self, token: str) -> None:
        """It was not believed: the next one who asks gets another."""
        if token == self._token:
            self._renew_at = self._good_until = 0.0

    async def _fetch(self) -> bool:
        try:
            async with asyncio.timeout(FETCH_TIMEOUT_S):
                told = await self._ask()
            token, life_s = str(told["access_token"]), float(told.get("expires_in", LIFE_S))
        except (OSError, TimeoutError, httpx2.HTTPError, ValueError, KeyError, TypeError) as error:
            telemetry.metrics.own_token_fetches.labels("bad").inc()
            status = f" {error.response.status_code}" if isinstance(error, httpx2.HTTPStatusError) else ""
            self._log.warning("the issuer gives us no token: %s%s", type(error).__name__, status)
            return False
        telemetry.metrics.own_token_fetches.labels("good").inc()
        self._token = token
        self._renew_at = monotonic() + life_s * RENEW_AT_RATIO
        self._good_until = monotonic() + life_s - min(MARGIN_S, life_s * MARGIN_RATIO)
        return True

    async def _ask(self) -> dict[str, Any]:
        endpoint = str((await discover(self._client, self._issuer))["token_endpoint"])
        who = quote(self._client_id, safe=""), quote(await self._secret(), safe="")  # RFC 6749, 2.3.1
        return read_object(await self._client.post(endpoint, data=self._form, auth=who))
