"""What was deployed somewhere, in the place of the stack of this checkout: its addresses and a token, out of the
environment.

SMOKE_GATEWAY_URL, SMOKE_PROMETHEUS_URL, SMOKE_LOKI_URL, SMOKE_JAEGER_URL     all four, or none
SMOKE_TOKEN            a token that may order for SMOKE_USER; or whose client gets one by its credentials:
SMOKE_TOKEN_URL, SMOKE_CLIENT_ID, SMOKE_CLIENT_SECRET, SMOKE_SCOPE
SMOKE_USER, SMOKE_PRODUCT      who orders, and what; both must be there
SMOKE_VERSION          what is to answer
SMOKE_PATIENCE_S       how long a signal may take to show
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx

BACKENDS = ("gateway", "prometheus", "loki", "jaeger")
SCOPE = "users:read orders:read orders:write any-user"


@dataclass(frozen=True)
class Deployed:
    """Where it is reached, and how its issuer is asked. What is secret is not shown."""

    urls: dict[str, str]
    token: str = field(default="", repr=False)
    token_url: str = ""
    client_id: str = ""
    client_secret: str = field(default="", repr=False)
    scope: str = SCOPE

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Deployed | None:
        """None where the stack of this checkout is meant. Raises ValueError when something is left out."""
        given = {name: environ.get(f"SMOKE_{name.upper()}_URL", "").rstrip("/") for name in BACKENDS}
        if not any(given.values()):
            return None
        needed = [f"SMOKE_{name.upper()}_URL" for name, url in given.items() if not url]
        token = environ.get("SMOKE_TOKEN", "")
        client = ("SMOKE_TOKEN_URL", "SMOKE_CLIENT_ID", "SMOKE_CLIENT_SECRET")
        if not token:
            needed += [name for name in client if not environ.get(name)]
        if needed:
            raise ValueError(f"{', '.join(needed)} not given{'' if token else ' (or SMOKE_TOKEN)'}")
        token_url, client_id, client_secret = (environ.get(name, "") for name in client)
        return cls(given, token, token_url, client_id, client_secret, environ.get("SMOKE_SCOPE") or SCOPE)

    def sign_in(self) -> httpx.Client:
        """A client of its gateway."""
        headers = {"authorization": f"Bearer {self.token or self._ask_for_token()}"}
        return httpx.Client(base_url=self.urls["gateway"], timeout=15, headers=headers)

    def _ask_for_token(self) -> str:
        """By the client's credentials (RFC 6749, 4.4)."""
        form = {"grant_type": "client_credentials", "scope": self.scope}
        answer = httpx.post(self.token_url, data=form, auth=(self.client_id, self.client_secret), timeout=15)
        assert answer.status_code == 200, f"the issuer answered {answer.status_code}"
        return str(answer.json()["access_token"])


def order_of(product_id: int, environ: Mapping[str, str] = os.environ) -> dict[str, object]:
    """An order of one piece; by whom and of what may be said where other people and products are."""
    product = int(environ.get("SMOKE_PRODUCT") or product_id)
    return {"user_id": int(environ.get("SMOKE_USER") or 7), "items": [{"product_id": product, "quantity": 1}]}
