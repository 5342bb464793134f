"""Fixtures of the running stack: its backends, and a user at its front door."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping

import httpx
import pytest

from tests.acceptance.backends import Backends
from tests.acceptance.deployed import Deployed

deselected: Counter[str] = Counter()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what the form under test cannot be asked; why is told at the end of the run."""
    kept, left_out = [], []
    for item in items:
        if reason := why_not(item):
            deselected[reason] += 1
            left_out.append(item)
        else:
            kept.append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = kept


def why_not(item: pytest.Item) -> str | None:
    """Why a test says nothing about what is under test; None when it does."""
    if Deployed.from_environment():
        marker = item.get_closest_marker("local_only")
        return str(marker.kwargs["reason"]) if marker else None
    if item.get_closest_marker("deployed_only"):
        return "is about what was deployed: `make smoke-deployed`"
    if os.environ["SIGNALBOX_FORM"] == "native":
        return "is about containers: `make test-compose`" if item.get_closest_marker("compose_only") else None
    marker = item.get_closest_marker("native_only")
    return str(marker.kwargs["reason"]) if marker else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for reason, count in deselected.items():
        terminalreporter.write_line(f"{count} deselected: {reason}")


@pytest.fixture(scope="session")
def backends(request: pytest.FixtureRequest) -> Iterator[Backends]:
    """Those of the stack; of what was deployed, where the environment says so."""
    deployed = Deployed.from_environment()
    urls: dict[str, str] = deployed.urls if deployed else request.getfixturevalue("stack").urls
    with httpx.Client(timeout=10) as http:
        yield Backends(urls, http)


@pytest.fixture
def user(backends: Backends) -> Iterator[httpx.Client]:
    """A client outside the gateway, signed in as a service that may act for any user."""
    with sign_in(backends.urls) as client:
        yield client


def sign_in(urls: Mapping[str, str], user_id: int | None = None, **asked: object) -> httpx.Client:
    """A client of the gateway with a token of the development issuer: of one user, or of a service. What was deployed
    has none, and its token is another's."""
    if deployed := Deployed.from_environment():
        return deployed.sign_in()
    kind, body = ("user", {"user_id": user_id, **asked}) if user_id else ("service", None)
    answer = httpx.post(f"{urls['issuer']}/development/{kind}-token", json=body, timeout=10)
    assert answer.status_code == 200, answer.text
    token = answer.json()["access_token"]
    return httpx.Client(base_url=urls["gateway"], timeout=15, headers={"authorization": f"Bearer {token}"})
