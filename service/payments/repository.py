"""Charges in PostgreSQL, in a schema that no other service touches.

In PostgreSQL because a charge must outlive every restart, and because the primary key on the order is what makes a
second charge impossible, whichever replica of payments is asked. A cache promises neither.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import BigInteger, Row, Text, Uuid, bindparam, column, select, table, text
from sqlalchemy.dialects.postgresql import insert

from service.data.engines import Databases
from service.payments.model import NO_CURRENCY, Charge, ChargeStatus

_charges = table(
    "charges",
    column("id", Uuid),
    column("order_id", Uuid),
    column("amount_cents", BigInteger),
    column("currency", Text),
    column("status", Text),
    schema="payments",
)
_columns = (_charges.c.id, _charges.c.order_id, _charges.c.amount_cents, _charges.c.currency, _charges.c.status)

# One statement decides between a charge and its being given up, whichever came first and however often it is asked.
_CANCEL = text(
    """
    WITH before AS (SELECT status FROM payments.charges WHERE order_id = :order_id)
    INSERT INTO payments.charges AS charge (id, order_id, amount_cents, currency, status)
    VALUES (:id, :order_id, 0, :currency, 'voided')
    ON CONFLICT (order_id) DO UPDATE SET
        status = CASE charge.status WHEN 'captured' THEN 'refunded' ELSE charge.status END,
        refunded_at = CASE charge.status WHEN 'captured' THEN clock_timestamp() ELSE charge.refunded_at END
    RETURNING id, order_id, amount_cents, currency, status,
        status IS DISTINCT FROM (SELECT status FROM before) AS changed
    """
).bindparams(bindparam("id", type_=Uuid), bindparam("order_id", type_=Uuid), bindparam("currency", type_=Text))


class SqlChargeRepository:
    """Keeps charges on the primary."""

    def __init__(self, databases: Databases) -> None:
        self._databases = databases

    async def add_once(self, charge: Charge) -> Charge:
        """Keep ``charge`` unless its order has one already; the one that is kept."""
        statement = (
            insert(_charges)
            .values(
                id=charge.id,
                order_id=charge.order_id,
                amount_cents=charge.amount_cents,
                currency=charge.currency,
                status=charge.status.value,
            )
            .on_conflict_do_nothing(index_elements=[_charges.c.order_id])
            .returning(_charges.c.id)
        )
        async with self._databases.transaction() as connection:
            if (await connection.execute(statement)).first() is not None:
                return charge
        rows = await self._databases.read_primary(select(*_columns).where(_charges.c.order_id == charge.order_id))
        return _charge(rows[0])

    async def cancel(self, order_id: UUID) -> tuple[Charge, bool]:
        """Refund the order's charge, or note that there shall be none; and whether this call did so."""
        values = {"id": uuid4(), "order_id": order_id, "currency": NO_CURRENCY}
        async with self._databases.transaction() as connection:
            row = (await connection.execute(_CANCEL, values)).one()
        return _charge(row), row.changed


def _charge(row: Row[Any]) -> Charge:
    return Charge(row.id, row.order_id, row.amount_cents, row.currency, ChargeStatus(row.status))
