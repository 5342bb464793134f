"""A pager's settings, all its backends being one small server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stack.pager.settings import Settings
from tests.unit.stack.pager_client import Backend


@pytest.fixture
def backend() -> Iterator[Backend]:
    one = Backend()
    yield one
    one.stop()


@pytest.fixture
def settings(tmp_path: Path, backend: Backend) -> Settings:
    (tmp_path / "runbooks").mkdir()
    return Settings(
        data=tmp_path / "data",
        prometheus_url=backend.url,
        jaeger_url=backend.url,
        loki_url=backend.url,
        alertmanager_url=backend.url,
        alertmanager_public_url="https://alertmanager.example",
        runbooks=tmp_path / "runbooks",
    )
