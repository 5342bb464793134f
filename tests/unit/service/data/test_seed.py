"""The data set is the same on every machine, and fits the tables it goes into."""

from __future__ import annotations

import hashlib

from service.data.seed import (
    PLENTY,
    PRODUCTS,
    SCARCE_PRODUCTS,
    SCARCE_STOCK,
    USERS,
    product_row,
    user_row,
)
from service.payments.model import LIMIT_CENTS


def digest(rows: object) -> str:
    return hashlib.sha256(repr(rows).encode()).hexdigest()[:16]


def test_rows_are_what_they_have_always_been() -> None:
    assert user_row(1) == (1, "Amir Popescu", "amir.popescu.1@example.com")
    assert product_row(42) == (42, "Matte Steel Desk", 5099, 1_000_598)
    assert digest([user_row(n) for n in range(1, USERS + 1)]) == "ad6ba2ceee1d7fb6"
    assert digest([product_row(n) for n in range(1, PRODUCTS + 1)]) == "f0a641eb5ecb1b6e"


def test_no_two_users_share_an_id_or_an_address() -> None:
    rows = [user_row(n) for n in range(1, USERS + 1)]
    assert [row[0] for row in rows] == list(range(1, USERS + 1))
    assert len({row[2] for row in rows}) == USERS
    assert len({row[1] for row in rows}) > 1000


def test_prices_are_positive_and_a_usual_order_stays_under_the_payment_limit() -> None:
    prices = [product_row(n)[2] for n in range(1, PRODUCTS + 1)]
    assert min(prices) > 0
    assert max(prices) * 20 < LIMIT_CENTS
    assert len(set(prices)) > 100


def test_only_the_first_few_products_can_run_out() -> None:
    stocks = [product_row(n)[3] for n in range(1, PRODUCTS + 1)]
    assert set(stocks[:SCARCE_PRODUCTS]) == {SCARCE_STOCK}
    assert min(stocks[SCARCE_PRODUCTS:]) >= PLENTY
