"""Counters as definitions name them, and as rules do."""

from __future__ import annotations

import re
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slo.emit import promql
from slo.model import Matcher, Selector
from slo.parse.selector import parse_selector


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("up", Selector("up")),
        ("up{}", Selector("up")),
        ('m{a="b"}', Selector("m", (Matcher("a", "=", "b"),))),
        (" sum( m { a = 'b' , c=~`x|y` , } ) ", Selector("m", (Matcher("a", "=", "b"), Matcher("c", "=~", "x|y")))),
        (r'm{a!="q\"\\n\n"}', Selector("m", (Matcher("a", "!=", 'q"\\n\n'),))),
        ('ns:m:rate{a!~"b.*"}', Selector("ns:m:rate", (Matcher("a", "!~", "b.*"),))),
        ('m{a="}"}', Selector("m", (Matcher("a", "=", "}"),))),
    ],
)
def test_reads_bare_counters(text: str, expected: Selector) -> None:
    assert parse_selector(text) == expected


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "metric name"),
        ('{a="b"}', "metric name"),
        ("rate(m[5m])", "bare counter"),
        ("sum by (a) (m)", "bare counter"),
        ("sum(rate(m[5m]))", "bare counter"),
        ("m[5m]", "bare counter"),
        ("m offset 5m", "bare counter"),
        ("a + b", "bare counter"),
        ('m{a="b"} > 0', "bare counter"),
        ('m{a="b"', "labels"),
        ('m{a=="b"}', "labels"),
        ("m{a=b}", "labels"),
        ('m{a="b" c="d"}', "labels"),
        ('m{__name__=~"x.*"}', "__name__"),
        ('m{a=~"("}', "regular expression"),
        (r'm{a="\q"}', "escape"),
    ],
)
def test_refuses_what_cannot_be_weighted_by_events(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse_selector(text)


matchers = st.builds(
    Matcher,
    st.from_regex(r"[a-zA-Z][a-zA-Z0-9_]{0,8}", fullmatch=True).filter(lambda label: label not in ("le", "__name__")),
    st.sampled_from(["=", "!="]),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]) | st.sampled_from('\n"\\{},='), max_size=12),
)


@given(metric=st.from_regex(r"[a-z_:][a-z0-9_:]{0,10}", fullmatch=True), matchers=st.lists(matchers, max_size=4))
def test_what_is_written_is_read_again(metric: str, matchers: list[Matcher]) -> None:
    selector = Selector(metric, tuple(matchers))
    assert parse_selector(promql.render_selector(selector)) == selector


@pytest.mark.parametrize(
    ("edge", "spellings", "others"),
    [
        ("30", ["30", "30.0"], ["3", "300", "30.05", "300.0"]),
        ("0.1", ["0.1"], ["0.10", "001", "1.1", "0a1"]),
        ("1", ["1", "1.0"], ["10", "1.00", "11"]),
        ("2.5", ["2.5"], ["25", "2.50"]),
        ("1.0", ["1", "1.0"], []),
    ],
)
def test_bucket_edges_match_as_prometheus_2_and_3_spell_them(
    edge: str, spellings: list[str], others: list[str]
) -> None:
    pattern = re.fullmatch(r'm\{le=~"(.*)"\}', promql.render_selector(Selector("m", (Matcher("le", "=", edge),))))
    assert pattern is not None
    expression = pattern[1].replace("\\\\", "\\")
    for text in spellings:
        assert re.fullmatch(expression, text), text
    for text in others:
        assert not re.fullmatch(expression, text), text


def test_an_infinite_edge_stays_as_it_is() -> None:
    assert promql.render_selector(Selector("m", (Matcher("le", "=", "+Inf"),))) == 'm{le="+Inf"}'


edges = st.decimals(min_value=0, max_value=10_000, places=3) | st.integers(min_value=0, max_value=10_000).map(Decimal)


@given(edge=edges, value=edges)
def test_beyond_an_edge_are_just_the_larger_edges(edge: Decimal, value: Decimal) -> None:
    pattern = promql.beyond_edge_pattern(edge)
    shortest = f"{value.normalize():f}"
    spellings = [shortest] if "." in shortest else [shortest, f"{shortest}.0"]
    for text in spellings:
        assert (re.fullmatch(pattern, text) is not None) == (value > edge), (pattern, text)
    assert re.fullmatch(pattern, "+Inf")
