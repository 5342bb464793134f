"""Cursors are opaque and signed, survive the way out and back, and nothing else passes for one."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.edge.pagination import MAX_ID, Cursors, InvalidCursor

CURSORS = Cursors("products", ["a key of a test"])


@given(st.integers(min_value=0, max_value=MAX_ID))
def test_a_cursor_comes_back_as_the_id_it_was_made_of(last_id: int) -> None:
    assert CURSORS.decode(CURSORS.encode(last_id)) == last_id


@given(st.text(max_size=60))
def test_any_text_is_a_cursor_of_ours_or_refused(text: str) -> None:
    try:
        last_id = CURSORS.decode(text)
    except InvalidCursor:
        return
    assert CURSORS.encode(last_id) == text


@given(st.integers(min_value=0, max_value=33), st.sampled_from("ABCDwxyz0189-_"))
def test_a_cursor_with_one_letter_changed_is_refused(place: int, letter: str) -> None:
    cursor = CURSORS.encode(42)
    changed = cursor[:place] + letter + cursor[place + 1 :]
    if changed != cursor:
        with pytest.raises(InvalidCursor):
            CURSORS.decode(changed)


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "42",
        "AQAAAAAAAAAq",  # as cursors were before they were signed
        base64.urlsafe_b64encode(b"\x02" + (42).to_bytes(8, "big") + bytes(16)).decode().rstrip("="),
        CURSORS.encode(42) + "=",
        CURSORS.encode(42) + "AAAA",
        CURSORS.encode(42)[:-4],
        Cursors("orders", ["a key of a test"]).encode(42),
        Cursors("products", ["another key"]).encode(42),
        "ÄÖÜ",
    ],
)
def test_what_this_service_did_not_give_out_for_this_collection_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidCursor):
        CURSORS.decode(cursor)


def test_a_key_can_be_replaced_while_cursors_are_out() -> None:
    old, both, new = (Cursors("products", keys) for keys in (["old"], ["new", "old"], ["new"]))
    assert both.decode(old.encode(7)) == 7
    assert new.decode(both.encode(8)) == 8
    with pytest.raises(InvalidCursor):
        new.decode(old.encode(7))


@pytest.mark.parametrize(
    ("total", "limit", "pages"),
    [(0, 3, [[]]), (3, 3, [[1, 2, 3]]), (4, 3, [[1, 2, 3], [4]]), (7, 3, [[1, 2, 3], [4, 5, 6], [7]])],
)
def test_following_cursors_sees_every_row_once(total: int, limit: int, pages: list[list[int]]) -> None:
    rows = list(range(1, total + 1))
    seen, after = [], 0
    while True:
        found = [row for row in rows if row > after][: limit + 1]
        page = CURSORS.page(found, limit, lambda row: row)
        seen.append(list(page.items))
        if page.next_cursor is None:
            break
        after = CURSORS.decode(page.next_cursor)
    assert seen == pages
