"""Fixtures of the running stack: its backends, and a user at its front door."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import httpx
import pytest

from tests.acceptance.backends import Backends
from tests.conftest import Stack


@pytest.fixture(scope="session")
def backends(stack: Stack) -> Iterator[Backends]:
    with httpx.Client(timeout=10) as http:
        yield Backends(stack.urls, http)


@pytest.fixture
def user(stack: Stack) -> Iterator[httpx.Client]:
    """A client outside the gateway, signed in as a service that may act for any user."""
    with sign_in(stack.urls) as client:
        yield client


def sign_in(urls: Mapping[str, str], user_id: int | None = None, **asked: object) -> httpx.Client:
    """A client of the gateway with a token of the development issuer: of one user, or of a service."""
    kind, body = ("user", {"user_id": user_id, **asked}) if user_id else ("service", None)
    answer = httpx.post(f"{urls['issuer']}/development/{kind}-token", json=body, timeout=10)
    assert answer.status_code == 200, answer.text
    token = answer.json()["access_token"]
    return httpx.Client(base_url=urls["gateway"], timeout=15, headers={"authorization": f"Bearer {token}"})
