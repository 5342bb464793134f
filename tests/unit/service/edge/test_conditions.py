"""Lists of entity tags, and how they are compared (RFC 9110, 8.8.3 and 13.1)."""

from __future__ import annotations

import pytest

from service.edge.conditions import ANY, MOST_TAGS, InvalidCondition, names_strongly, names_weakly, parse_tags


@pytest.mark.parametrize(
    ("field", "tags"),
    [
        ("*", ANY),
        (" * ", ANY),
        ('"a"', {'"a"'}),
        ('W/"a"', {'W/"a"'}),
        ('"a","b"', {'"a"', '"b"'}),
        (' "a" ,\tW/"b",', {'"a"', 'W/"b"'}),
        (',, "a"', {'"a"'}),
        ('""', {'""'}),
        ('"a,b", "c"', {'"a,b"', '"c"'}),
        ('"*"', {'"*"'}),
        ('"\xfc"', {'"\xfc"'}),
    ],
)
def test_a_list_of_tags_is_read(field: str, tags: set[str]) -> None:
    assert parse_tags(field) == tags


@pytest.mark.parametrize(
    "field",
    [
        *("", " ", ",", "a", '"a', 'a"', '"a" "b"', '"a""b"', '*, "a"', '"a", *', "**"),
        *('w/"a"', 'W/ "a"', "W/a", '"a b"', '"a\x00"', '"a"; "b"', '"' * 3, '"a",b', '"a", ' * 50 + "x"),
        ",".join(f'"{number}"' for number in range(MOST_TAGS + 1)),
    ],
)
def test_what_is_no_list_of_tags_is_refused(field: str) -> None:
    with pytest.raises(InvalidCondition):
        parse_tags(field)


@pytest.mark.parametrize(
    ("one", "other", "strongly", "weakly"),
    [
        ('W/"1"', 'W/"1"', False, True),
        ('W/"1"', 'W/"2"', False, False),
        ('W/"1"', '"1"', False, True),
        ('"1"', '"1"', True, True),
    ],
)
def test_the_table_of_comparisons(one: str, other: str, strongly: bool, weakly: bool) -> None:
    """RFC 9110, 8.8.3.2."""
    for tags, tag in ((one, other), (other, one)):
        assert names_strongly(parse_tags(tags), tag) is strongly
        assert names_weakly(parse_tags(tags), tag) is weakly


def test_any_state_is_named_by_a_star() -> None:
    assert names_strongly(ANY, '"1"')
    assert names_weakly(ANY, 'W/"1"')
