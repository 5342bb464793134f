"""A charge, and what can go wrong with one. Knows nothing of storage or HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from service.errors import Conflict, Refused

# What one order may cost; more is refused. Stands for the decision of a card network.
LIMIT_CENTS = 1_000_000


class ChargeStatus(StrEnum):
    """What became of a charge. It never changes."""

    CAPTURED = "captured"
    REFUSED = "refused"


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


class ChargeMismatch(Conflict):
    """The order has been charged already, with another amount or currency."""

    kind = "charge-mismatch"
