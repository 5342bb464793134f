"""What became of orders, written down by the database itself, where a second fulfilment cannot hide.

Owns the trigger and the reckoning. Knows nothing of who places orders, and of who fulfils them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from tests.acceptance.service.conftest import Sql


@dataclass(frozen=True)
class Reckoning:
    """Orders placed against fulfilments, each counted as often as it happened."""

    placed: int
    fulfilled: int
    lost: int
    doubled: int


def open_ledger(sql: Sql, database: str) -> None:
    """Write down every fulfilment in ``database`` from now on."""
    sql("CREATE TABLE fulfilments (order_id uuid)", database=database)
    sql(
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN INSERT INTO fulfilments VALUES (NEW.id); RETURN NEW; END'",
        database=database,
    )
    sql(
        "CREATE TRIGGER noted AFTER UPDATE ON orders FOR EACH ROW WHEN (NEW.status = 'fulfilled')"
        " EXECUTE FUNCTION note()",
        database=database,
    )


def read_ledger(sql: Sql, database: str, placed: Iterable[UUID]) -> Reckoning:
    """What has become of ``placed`` so far."""
    return reckon(placed, (row[0] for row in sql("SELECT order_id FROM fulfilments", database=database)))


def reckon(placed: Iterable[UUID], fulfilled: Iterable[UUID]) -> Reckoning:
    """An order is lost when nobody fulfilled it; every fulfilment after its first, or of an order unknown, is one too
    many."""
    orders, done = set(placed), Counter(fulfilled)
    once = orders & done.keys()
    return Reckoning(len(orders), done.total(), len(orders) - len(once), done.total() - len(once))
