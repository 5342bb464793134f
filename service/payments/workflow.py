"""Charging for an order, once however often it is asked for. Knows nothing of storage or HTTP."""

from __future__ import annotations

from typing import Protocol
from uuid import UUID, uuid4

from service.payments.model import LIMIT_CENTS, Charge, ChargeMismatch, ChargeRefused, ChargeStatus


class ChargeRepository(Protocol):
    """Where charges are kept, one an order."""

    async def add_once(self, charge: Charge) -> Charge:
        """Keep ``charge`` unless its order has one already; the one that is kept."""
        ...


async def charge_order(charges: ChargeRepository, order_id: UUID, amount_cents: int, currency: str) -> Charge:
    """The one charge for this order, made now or before.

    Raises ``ChargeRefused`` when it is refused, and ``ChargeMismatch`` when the order was charged something else.
    """
    status = ChargeStatus.CAPTURED if amount_cents <= LIMIT_CENTS else ChargeStatus.REFUSED
    kept = await charges.add_once(Charge(uuid4(), order_id, amount_cents, currency, status))
    if (kept.amount_cents, kept.currency) != (amount_cents, currency):
        raise ChargeMismatch("this order has been charged another amount")
    if kept.status is ChargeStatus.REFUSED:
        raise ChargeRefused(f"an order may not cost more than {LIMIT_CENTS} cents")
    return kept
