"""The compiler's whole output for somebody else's service, byte by byte.

After a change that is meant: `UPDATE_GOLDEN=1 python -m pytest tests/golden`, then read the difference.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from slo.compiler import compile_tree
from slo.emit.runbooks import emit_runbooks
from slo.parse.tree import parse_tree

LIBRARY = Path(__file__).parent / "library"
DEFINITIONS, EXPECTED = LIBRARY / "definitions", LIBRARY / "expected"


def compiled() -> dict[str, str]:
    files = compile_tree(DEFINITIONS)
    fast = compile_tree(DEFINITIONS, clock=20)
    runbooks = {book.alert: book.merged(None) for book in emit_runbooks(parse_tree(DEFINITIONS))}
    return {
        **files,
        "clock-20/prometheus/slo-rules.yaml": fast["prometheus/slo-rules.yaml"],
        "clock-20/alertmanager/alertmanager.yml": fast["alertmanager/alertmanager.yml"],
        **{f"runbooks/{name}.md": runbooks[name] for name in ("SearchSpeedBurnPage", "SearchSpeedNoData")},
    }


FILES = compiled()


@pytest.mark.parametrize("name", sorted(FILES))
def test_output_is_what_it_was(name: str) -> None:
    path = EXPECTED / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(FILES[name])
    assert FILES[name] == path.read_text()


def test_nothing_else_is_expected() -> None:
    assert {str(path.relative_to(EXPECTED)) for path in EXPECTED.rglob("*") if path.is_file()} == set(FILES)


def test_the_same_definitions_give_the_same_bytes() -> None:
    assert compiled() == FILES
