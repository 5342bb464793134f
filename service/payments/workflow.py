"""Charging for an order, once however often it is asked for, and giving it up again. Knows nothing of storage or HTTP.

Giving up wins over charging whichever comes first: an order that was given up cannot be charged by a request that was
still on its way.
"""

from __future__ import annotations

from typing import Protocol
from uuid import UUID, uuid4

from service import telemetry
from service.payments.model import (
    LIMIT_CENTS,
    Charge,
    ChargeCancelled,
    ChargeMismatch,
    ChargeRefused,
    ChargeStatus,
)


class ChargeRepository(Protocol):
    """Where charges are kept, one an order."""

    async def add_once(self, charge: Charge) -> Charge:
        """Keep ``charge`` unless its order has one already; the one that is kept."""
        ...

    async def cancel(self, order_id: UUID) -> tuple[Charge, bool]:
        """Refund the order's charge, or note that there shall be none; and whether this call did so."""
        ...


async def charge_order(charges: ChargeRepository, order_id: UUID, amount_cents: int, currency: str) -> Charge:
    """The one charge for this order, made now or before.

    Raises ``ChargeRefused`` when it is refused, ``ChargeCancelled`` when the order was given up, and ``ChargeMismatch``
    when it was charged something else.
    """
    status = ChargeStatus.CAPTURED if amount_cents <= LIMIT_CENTS else ChargeStatus.REFUSED
    kept = await charges.add_once(Charge(uuid4(), order_id, amount_cents, currency, status))
    if kept.status in (ChargeStatus.REFUNDED, ChargeStatus.VOIDED):
        raise ChargeCancelled("this order was given up")
    if (kept.amount_cents, kept.currency) != (amount_cents, currency):
        raise ChargeMismatch("this order has been charged another amount")
    if kept.status is ChargeStatus.REFUSED:
        raise ChargeRefused(f"an order may not cost more than {LIMIT_CENTS} cents")
    return kept


async def cancel_charge(charges: ChargeRepository, order_id: UUID) -> Charge:
    """Give the order up: what was charged for it is refunded, and nothing will be. Doing it again changes nothing."""
    charge, changed = await charges.cancel(order_id)
    if changed:
        telemetry.metrics.charges_cancelled.labels(charge.status.value).inc()
        telemetry.event("charge.cancelled", {"order.id": str(order_id), "charge.status": charge.status.value})
    return charge
