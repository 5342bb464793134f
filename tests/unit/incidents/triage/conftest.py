"""The rules that come with the package, and the builders beside this file."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from incidents.triage.rules import Rules, read_rules

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def rules() -> Rules:
    return read_rules()
