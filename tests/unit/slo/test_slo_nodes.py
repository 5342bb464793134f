"""YAML with places, and YAML that means harm."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slo.errors import Location
from slo.parse import nodes
from slo.parse.nodes import Mapping, Scalar, Sequence, Unread, parse_nodes

LARGEST = nodes.LARGEST_FILE_BYTES


def test_every_node_knows_where_it_stands() -> None:
    documents, problems = parse_nodes(b"a: 1\nb:\n  - x\n  - {c: 'y'}\n---\nz: 2\n", "f.yaml")
    assert problems == []
    first, second = documents
    assert isinstance(first, Mapping)
    assert isinstance(second, Mapping)
    key, sequence = first.entries["b"]
    assert key == Location("f.yaml", 2, 1)
    assert isinstance(sequence, Sequence)
    inner = sequence.items[1]
    assert isinstance(inner, Mapping)
    assert inner.entries["c"][1] == Scalar(Location("f.yaml", 4, 9), "y", bare=False)
    assert second.entries["z"][1].at == Location("f.yaml", 6, 4)


def test_scalars_stay_text() -> None:
    documents, _ = parse_nodes(b"[1.0, yes, ~, '~', 0o7, 2024-01-01]", "f.yaml")
    assert isinstance(documents[0], Sequence)
    scalars = [node for node in documents[0].items if isinstance(node, Scalar)]
    assert [scalar.text for scalar in scalars] == ["1.0", "yes", "~", "~", "0o7", "2024-01-01"]
    assert [scalar.is_null for scalar in scalars] == [False, False, True, False, False, False]


BILLION_LAUGHS = b"a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: [*c, *c]\n"


@pytest.mark.parametrize(
    ("data", "code", "line", "column"),
    [
        pytest.param(BILLION_LAUGHS, "yaml-alias", 1, 4, id="anchors"),
        pytest.param(b"a: 1\nb: *x\n", "yaml-alias", 2, 4, id="alias without anchor"),
        pytest.param(b"a: 1\na: 2\n", "yaml-duplicate-key", 2, 1, id="duplicate key"),
        pytest.param(b"a: 1\n'a': 2\n", "yaml-duplicate-key", 2, 1, id="duplicate key in quotes"),
        pytest.param(b"a: !!python/object:os.system x\n", "yaml-tag", 1, 4, id="python tag"),
        pytest.param(b"? [a, b]\n: 1\n", "yaml-key", 1, 3, id="list as a key"),
        pytest.param(b"a: [1\nb: 2\n", "yaml-syntax", 2, 2, id="bracket left open"),
        pytest.param(b"a:\n\t- b\n", "yaml-syntax", 2, 1, id="tab"),
        pytest.param(b"a: \xff\n", "yaml-encoding", 1, 4, id="not UTF-8"),
        pytest.param(b"a: 1\nb: \x00\n", "yaml-syntax", 2, 4, id="null byte"),
        pytest.param("a: 1".encode("utf-16"), "yaml-encoding", 1, 1, id="UTF-16"),
        pytest.param(b"[" * 100_000, "yaml-depth", 1, 33, id="deep brackets"),
        pytest.param(b"- " * 100_000, "yaml-depth", 1, 65, id="deep dashes"),
        pytest.param(b"{a: " * 100_000, "yaml-depth", 1, 129, id="deep braces"),
        pytest.param(b"? " * 100_000, "yaml-key", 1, 3, id="deep keys"),
        pytest.param(b"- \n" * 600_000, "yaml-size", 59_999, 2, id="many nodes"),
        pytest.param(b"---\n" * 500_000, "yaml-size", 1, 1, id="many documents"),
        pytest.param(b"x" * (LARGEST + 1), "yaml-size", 1, 1, id="too large"),
    ],
)
def test_hostile_input_is_refused_with_its_place_and_at_once(data: bytes, code: str, line: int, column: int) -> None:
    started = time.process_time()
    _, problems = parse_nodes(data, "f.yaml")
    assert problems[0].code == code
    assert problems[0].at == Location("f.yaml", line, column)
    assert all(problem.remedy for problem in problems)
    assert time.process_time() - started < 2


def test_what_is_wrong_with_one_value_does_not_hide_the_rest() -> None:
    data = b"a: &x 1\nb: *x\nc: 2\nc: 3\n? [d]\n: 4\ne: !!set {f}\ng: 5\n---\nh: 6\n---\ni: [\n"
    documents, problems = parse_nodes(data, "f.yaml")
    assert [(problem.at.line, problem.code) for problem in problems] == [
        (1, "yaml-alias"),
        (2, "yaml-alias"),
        (4, "yaml-duplicate-key"),
        (5, "yaml-key"),
        (7, "yaml-tag"),
        (13, "yaml-syntax"),
    ]
    first, second, rest = documents
    assert isinstance(first, Mapping)
    assert isinstance(second, Mapping)
    assert isinstance(rest, Unread)
    assert list(first.entries) == ["a", "b", "c", "e", "g"]
    kept = first.entries["c"][1]
    assert isinstance(kept, Scalar)
    assert kept.text == "2"
    assert isinstance(first.entries["b"][1], Unread)


@pytest.mark.parametrize(
    "text", ["9" * 1_000_000, '"' + "x" * 1_000_000 + '"', "#" * 1_000_000, "&" * 1000, "!" * 1000]
)
def test_long_tokens_take_no_time(text: str) -> None:
    started = time.process_time()
    parse_nodes(f"a: {text}\n".encode(), "f.yaml")
    assert time.process_time() - started < 2


@settings(max_examples=300, deadline=None)
@given(data=st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace"))))
def test_no_input_raises(data: bytes) -> None:
    documents, problems = parse_nodes(data, "f.yaml")
    assert all(problem.what and problem.remedy for problem in problems)
    assert problems or not any(isinstance(document, Unread) for document in documents)
