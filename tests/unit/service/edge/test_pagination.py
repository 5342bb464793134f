"""Cursors are opaque, survive the way out and back, and nothing else passes for one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.edge.pagination import MAX_ID, InvalidCursor, build_page, decode_cursor, encode_cursor


@given(st.integers(min_value=0, max_value=MAX_ID))
def test_a_cursor_comes_back_as_the_id_it_was_made_of(last_id: int) -> None:
    assert decode_cursor(encode_cursor(last_id)) == last_id


@given(st.text(max_size=40))
def test_any_text_is_a_cursor_of_ours_or_refused(text: str) -> None:
    try:
        last_id = decode_cursor(text)
    except InvalidCursor:
        return
    assert encode_cursor(last_id) == text


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "42",
        "AQ",  # too short
        "AQAAAAAAAAAqAAAA",  # too long
        "AgAAAAAAAAAq",  # of another version
        "Af__________",  # its id is no bigint
        "AQAAAAAAAAAq=",
        "AQAAAAAAAAA ",
        "ÄÖÜ",
    ],
)
def test_what_is_no_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidCursor):
        decode_cursor(cursor)


@pytest.mark.parametrize(
    ("total", "limit", "pages"),
    [(0, 3, [[]]), (3, 3, [[1, 2, 3]]), (4, 3, [[1, 2, 3], [4]]), (7, 3, [[1, 2, 3], [4, 5, 6], [7]])],
)
def test_following_cursors_sees_every_row_once(total: int, limit: int, pages: list[list[int]]) -> None:
    rows = list(range(1, total + 1))
    seen, after = [], 0
    while True:
        found = [row for row in rows if row > after][: limit + 1]
        page = build_page(found, limit, lambda row: row)
        seen.append(list(page.items))
        if page.next_cursor is None:
            break
        after = decode_cursor(page.next_cursor)
    assert seen == pages
