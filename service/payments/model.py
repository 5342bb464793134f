"""A charge, and what can go wrong with one. Knows nothing of storage or HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from service.errors import Conflict, Refused

# What one order may cost; more is refused. Stands for the decision of a card network.
LIMIT_CENTS = 1_000_000


class ChargeStatus(StrEnum):
    """What became of a charge. A captured one may be refunded; nothing else changes."""

    CAPTURED = "captured"
    REFUSED = "refused"
    REFUNDED = "refunded"
    VOIDED = "voided"  # given up before anything was charged; nothing will be


# What stands in a voided charge, which nobody put a price to (ISO 4217: no currency).
NO_CURRENCY = "XXX"


@dataclass(frozen=True, slots=True)
class Charge:
    """Money asked for one order, once."""

    id: UUID
    order_id: UUID
    amount_cents: int
    currency: str
    status: ChargeStatus


class ChargeRefused(Refused):
    """The charge was decided, and refused."""

    kind = "charge-refused"


class ChargeCancelled(Refused):
    """The order was given up; it is not charged any more."""

    kind = "charge-cancelled"


class ChargeMismatch(Conflict):
    """The order has been charged already, with another amount or currency."""

    kind = "charge-mismatch"
