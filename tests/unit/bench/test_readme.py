"""The list of benches is whole: every target and every result is on it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
README = (ROOT / "bench" / "README.md").read_text()
TARGETS = re.findall(
    r"^((?:bench-[a-z-]+|prove-scaling|capacity)):.* ## ", (ROOT / "Makefile").read_text(), re.MULTILINE
)
RESULTS = sorted(path.name for path in (ROOT / "bench" / "results").iterdir())


@pytest.mark.parametrize("target", TARGETS)
def test_every_bench_is_listed_with_its_result_and_its_duration(target: str) -> None:
    [row] = re.findall(rf"^\| `make {target}` .*$", README, re.MULTILINE)
    assert len(row.split(" | ")) == 5
    assert all(cell.strip(" |") for cell in row.split(" | "))


@pytest.mark.parametrize("result", RESULTS)
def test_every_result_says_where_it_comes_from(result: str) -> None:
    assert f"`{result}`" in README
