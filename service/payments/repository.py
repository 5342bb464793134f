"""Charges in PostgreSQL, in a schema that no other service touches.

In PostgreSQL because a charge must outlive every restart, and because the primary key on the order is what makes a
second charge impossible, whichever replica of payments is asked. A cache promises neither.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Text, Uuid, column, select, table
from sqlalchemy.dialects.postgresql import insert

from service.data.engines import Databases
from service.payments.model import Charge, ChargeStatus

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
        row = rows[0]
        return Charge(row.id, row.order_id, row.amount_cents, row.currency, ChargeStatus(row.status))
