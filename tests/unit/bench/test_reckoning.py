"""Orders against fulfilments: what is lost and what is doubled must not make up for each other."""

from __future__ import annotations

from uuid import UUID

import pytest

from tests.acceptance.service.ledger import reckon

A, B, C = UUID(int=1), UUID(int=2), UUID(int=3)


@pytest.mark.parametrize(
    ("fulfilled", "lost", "doubled"),
    [
        ([A, B], 0, 0),
        ([A], 1, 0),
        ([A, B, B], 0, 1),
        ([A, A], 1, 1),
        ([A, B, C], 0, 1),
        ([C, C], 2, 2),
    ],
    ids=["all once", "one lost", "one twice", "one for the other", "a stranger", "only strangers"],
)
def test_a_lost_order_is_not_made_up_for_by_a_doubled_one(fulfilled: list[UUID], lost: int, doubled: int) -> None:
    seen = reckon([A, B], fulfilled)
    assert (seen.placed, seen.fulfilled, seen.lost, seen.doubled) == (2, len(fulfilled), lost, doubled)
