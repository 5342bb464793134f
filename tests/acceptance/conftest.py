"""Fixtures of the running stack: its backends, and a user at its front door."""

from __future__ import annotations

from collections.abc import Iterator

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
    """A client outside the gateway."""
    with httpx.Client(base_url=stack.urls["gateway"], timeout=15) as client:
        yield client
