"""How a naive client charges: again and again, at once, whatever the other side's state. The defect of `blind-retries`.

Owns that behaviour, past breaker, budget and deadline. Nothing here is reached unless the fault strikes.
"""

from __future__ import annotations

from collections.abc import Mapping

import httpx2

from service import telemetry
from service.orders.model import PaymentRefused, PaymentUnavailable

# So short that the first try is still being worked on when the second is sent.
IMPATIENCE_S = 0.5


async def charge_blindly(
    client: httpx2.AsyncClient, body: Mapping[str, object], *, attempts: int, headers: Mapping[str, str]
) -> None:
    """Charge, at most ``attempts`` times. Raises ``PaymentRefused`` or ``PaymentUnavailable``."""
    log = telemetry.logger(__name__)
    problem = ""
    for attempt in range(attempts):
        if attempt:
            log.warning("retry %d of %d after %s", attempt, attempts - 1, problem)
        try:
            response = await client.post("/v1/charges", json=body, headers=headers, timeout=IMPATIENCE_S)
        except httpx2.TransportError as error:
            problem = type(error).__name__
            continue
        if response.is_success:
            return
        if response.is_client_error:
            raise PaymentRefused("the payment was refused")
        problem = str(response.status_code)
    raise PaymentUnavailable(f"payments failed {attempts} times, last with {problem}")
