"""Orders through the gateway, open loop, at a rate that changes; what came back, second by second.

Owns arrivals and outcomes. A request leaves when it is due, however long the others take.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from incidents.identity import fetch_token
from incidents.wire import NoAnswer, TrafficClient

USERS, FIRST_PRODUCT, PRODUCTS = 50_000, 11, 100_000  # the seeded data set; the first ten products are scarce
CONNECTIONS = 400
TIMEOUT_S = 12.0  # above what the gateway waits


@dataclass(frozen=True)
class Leg:
    """A stretch of time over which the rate goes from one value to another in a straight line."""

    seconds: float
    start_per_s: float
    end_per_s: float


def rate_at(legs: Sequence[Leg], at_s: float) -> float | None:
    """The rate at a moment; None when all is over."""
    for leg in legs:
        if at_s < leg.seconds:
            return leg.start_per_s + (leg.end_per_s - leg.start_per_s) * at_s / leg.seconds
        at_s -= leg.seconds
    return None


@dataclass
class Outcome:
    """What came of the requests, since the last one was taken."""

    sent: int = 0
    good: int = 0
    bad: Counter[str] = field(default_factory=Counter)
    waits_s: list[float] = field(default_factory=list)

    def quantile_ms(self, share: float) -> float | None:
        """A quantile of the answered requests' waits; None without any."""
        waits = sorted(self.waits_s)
        return round(waits[min(len(waits) - 1, int(share * len(waits)))] * 1000, 1) if waits else None


class Traffic:
    """A stream of orders. ``outcome`` counts them by the promise's own rule: 5xx and no answer are bad."""

    def __init__(self, gateway: str, issuer: str, seed: int) -> None:
        self._client = TrafficClient(
            gateway, user_agent="bench-scaling", max_connections=CONNECTIONS, timeout_s=TIMEOUT_S
        )
        self._issuer = issuer
        self._draw = random.Random(seed)
        self.outcome = Outcome()
        self.rate_per_s = 0.0
        self.underway = 0

    async def run(self, legs: Sequence[Leg], until: Callable[[], bool] = lambda: False) -> None:
        """Send through all legs (the last rate stays until ``until``); returns when every answer is there."""
        if token := await fetch_token(self._issuer):
            self._client.sign_in(token)
        start = due = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            while True:
                rate = rate_at(legs, due - start)
                if rate is None:
                    break
                self.rate_per_s = rate
                due += self._draw.expovariate(rate)
                if (delay_s := due - time.monotonic()) > 0:
                    await asyncio.sleep(delay_s)
                if until():
                    break
                tasks.create_task(self._send())

    async def close(self) -> None:
        """Let go of the connections."""
        await self._client.close()

    def take(self) -> Outcome:
        """What came back since the last call."""
        taken, self.outcome = self.outcome, Outcome()
        return taken

    async def _send(self) -> None:
        items = [{"product_id": self._draw.randint(FIRST_PRODUCT, PRODUCTS), "quantity": 1}]
        body = json.dumps({"user_id": self._draw.randint(1, USERS), "items": items}).encode()
        self.outcome.sent += 1
        self.underway += 1
        began = time.monotonic()
        try:
            answer = await self._client.send("POST", "/v1/orders", body)
        except NoAnswer as lost:
            self.outcome.bad[lost.reason] += 1
            return
        finally:
            self.underway -= 1
        if answer.status >= 500:
            self.outcome.bad[str(answer.status)] += 1
        else:
            self.outcome.good += 1
            self.outcome.waits_s.append(time.monotonic() - began)
