"""One address of the database, in the words of two libraries."""

from __future__ import annotations

import pytest

from service.data.dsn import asyncpg_dsn


@pytest.mark.parametrize(
    ("url", "dsn"),
    [
        ("postgresql+asyncpg://a:p%40ss@db:5432/shop", "postgresql://a:p%40ss@db:5432/shop"),
        ("postgresql+asyncpg://a@db/shop?ssl=verify-full", "postgresql://a@db/shop?sslmode=verify-full"),
    ],
)
def test_what_asks_for_tls_there_asks_for_it_here(url: str, dsn: str) -> None:
    assert asyncpg_dsn(url) == dsn
