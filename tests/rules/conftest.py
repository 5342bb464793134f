"""Prometheus' and Alertmanager's own tools, which judge generated files."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from stack.backends import probe
from tests.conftest import missing_backend
from tests.rules.promtool import Promtool


def find_tool(backend: str, name: str) -> Path:
    """A tool that comes with a backend, or lies on PATH. Missing, the test is skipped; under CI it fails."""
    found = probe(backend)
    if found and name in found.executables:
        return found.executables[name]
    if on_path := shutil.which(name):
        return Path(on_path)
    missing_backend(f"{name} is not there. `make up` gets {backend}, which brings it")
    raise AssertionError("unreachable")


@pytest.fixture(scope="session")
def promtool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Promtool]:
    tool = Promtool(find_tool("prometheus", "promtool"), tmp_path_factory.mktemp("rules"))
    yield tool
    tool.close()


@pytest.fixture(scope="session")
def amtool() -> Path:
    return find_tool("alertmanager", "amtool")
