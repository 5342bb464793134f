"""Regular expressions: Prometheus' language, and no pattern takes long."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slo.emit.promtool.labels import example_labels
from slo.parse.selector import parse_selector
from slo.patterns import check_pattern, matches

PIECES = st.sampled_from(
    ["a", "b", ".", "[ab]", "[^a-b]", "a*", "b+", "a?", "b{2,3}", "(ab|b)", "(?:a|ab)*", "\\d", "", "|"]
)


@given(pieces=st.lists(PIECES, max_size=6), text=st.text("ab0", max_size=8))
def test_it_decides_as_python_does_where_python_is_fast(pieces: list[str], text: str) -> None:
    pattern = "".join(pieces)
    assert matches(pattern, text) == (re.fullmatch(pattern, text) is not None)


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("5..", "503", True),
        ("(?i)get|post", "GET", True),
        ("(?i:g)et", "GET", False),
        ("^a$", "a", True),
        ("a^b", "ab", False),
        (r"a\b.b", "a-b", True),
        (r"a\bb", "ab", False),
        (r"\Aa.*", "a\nb", True),  # Prometheus lets a dot be a new line
        (r"/v1/products/\{id\}", "/v1/products/{id}", True),
        ("é+", "éé", True),
        (r"\d", "٣", False),
        ("[[:alpha:]]+", "abc", True),
        (r"\pL+", "éß", True),
        (r"\Qa.b\E", "a.b", True),
        ("(?<name>a)", "a", True),
    ],
)
def test_it_reads_as_prometheus_does(pattern: str, text: str, expected: bool) -> None:
    assert matches(pattern, text) is expected


@pytest.mark.parametrize(
    "pattern", ["(a+)+b", "(a|a)*" * 500 + "b", "((((((((a*)*)*)*)*)*)*)*)*b", "a?" * 60 + "a" * 60 + "b"]
)
def test_no_pattern_takes_long(pattern: str) -> None:
    started = time.process_time()
    assert not matches(pattern, "a" * 100)
    assert time.process_time() - started < 2


@pytest.mark.parametrize(
    ("pattern", "complaint"),
    [
        ("(?=5)..", r"\(\?="),
        ("(?<!a)b", r"\(\?<!"),
        (r"(5)\1", r"\\1"),
        ("a++", r"\+\+"),
        ("(?>a)", r"\(\?>"),
        ("a{1001}", "1001"),
        ("(a{1000}){1000}", "1000"),
        ("(?x)a", r"\(\?x"),
        (r"a\Z", r"\\Z"),
        (r"a\C", r"\\C"),
        ("(", "missing"),
        ("\ud800", "surrogates"),
    ],
)  # fmt: skip
def test_what_prometheus_cannot_read_is_refused_with_a_remedy(pattern: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as caught:
        check_pattern(pattern)
    assert "; write" in str(caught.value)


def test_a_backslash_before_a_letter_is_not_mistaken_for_an_escape() -> None:
    assert matches(r"a\\Z", "a\\Z")


def test_labels_are_invented_for_a_pattern_in_parentheses() -> None:
    assert example_labels(parse_selector('a{code=~"(5..|429)",verb=~"(?:GET)"}')) == {"code": "500", "verb": "GET"}
