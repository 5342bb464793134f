"""Whom to ask at random, and as whom: the API behind its gateway, payments, and an issuer of one's own.

The running stack's issuer is not asked: a key that is rotated a hundred times would sign everybody out.
"""

from __future__ import annotations

import base64
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from bench.ports import free_port
from bench.ready import await_ready

ROOT = Path(__file__).parent.parent.parent
TIMEOUT_S = 30.0
CLIENT_ID = "signalbox"  # the issuer knows no other

Headers = Mapping[str, str]


@dataclass(frozen=True)
class Target:
    """An address that describes itself at ``/openapi.json``, and who asks it by the headers that say so."""

    name: str
    url: str
    identities: Mapping[str, Headers]

    def description(self) -> dict[str, Any]:
        """Its OpenAPI document."""
        answer = requests.get(f"{self.url}/openapi.json", timeout=TIMEOUT_S)
        answer.raise_for_status()
        document: dict[str, Any] = answer.json()
        return document


def api(gateway: str, issuer: str) -> Target:
    """Asked as nobody, as a user, and as a service that may act for all users."""
    return Target("api", gateway, {"nobody": {}, "user": _user(issuer), "service": _bearer(issuer, "service")})


def payments(url: str, issuer: str, client_secret: str) -> Target:
    """Asked as nobody, as a user, who may not, and as the client of the issuer that may charge."""
    grant = {"grant_type": "client_credentials", "scope": "charges:write"}
    answer = requests.post(f"{issuer}/token", data=grant, auth=(CLIENT_ID, client_secret), timeout=TIMEOUT_S)
    return Target("payments", url, {"nobody": {}, "user": _user(issuer), "client": _token_of(answer)})


def _user(issuer: str) -> Headers:
    return _bearer(issuer, "user", {"user_id": 7})


def _bearer(issuer: str, kind: str, body: object = None) -> Headers:
    return _token_of(requests.post(f"{issuer}/development/{kind}-token", json=body, timeout=TIMEOUT_S))


def _token_of(answer: requests.Response) -> Headers:
    answer.raise_for_status()
    return {"Authorization": f"Bearer {answer.json()['access_token']}"}


@contextmanager
def own_issuer() -> Iterator[Target]:
    """A development issuer with a client's secret, asked as nobody and as that client. Needs nothing else to run."""
    port, secret = free_port(), secrets.token_urlsafe()
    url = f"http://127.0.0.1:{port}"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SIGNALBOX_")}
    environment = {
        **kept,
        "SIGNALBOX_DATABASE_URL": "postgresql+asyncpg://nobody@127.0.0.1/none",  # it never asks it
        "SIGNALBOX_ISSUER_URL": url,
        "SIGNALBOX_CLIENT_SECRET": secret,
        "SIGNALBOX_OTLP_URL": "",
        "SIGNALBOX_DRAIN_S": "0",
    }
    command = [sys.executable, "-m", "service", "issuer", "--port", str(port)]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        if not await_ready(process, url):
            raise TimeoutError(f"the issuer did not start at {url}")
        basic = base64.b64encode(f"{CLIENT_ID}:{secret}".encode()).decode()
        yield Target("issuer", url, {"nobody": {}, "client": {"Authorization": f"Basic {basic}"}})
    finally:
        process.terminate()
        process.wait()
