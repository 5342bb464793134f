"""Mixed traffic, open loop: requests leave when they are due, however long the answers take.

Owns the mix, arrivals and what came back. A wait is counted from when the request was due, so a server that falls
behind cannot hide it (no coordinated omission).
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from incidents.wire import NoAnswer, TrafficClient

USERS, FIRST_PRODUCT, PRODUCTS = 50_000, 11, 100_000  # the seeded data set; the first ten products are scarce
POPULAR, POPULAR_SHARE = 200, 0.8  # of the product views go to so few products
# Views of one product, pages of the catalogue, users, placing an order, reading one back.
MIX = (("product", 50), ("page", 15), ("user", 15), ("order", 10), ("read-order", 10))
CONNECTIONS = 200
TIMEOUT_S = 10.0


@dataclass
class Outcome:
    """What came of one run. ``waits_s`` are of answered requests; ``failed`` by reason or status."""

    sent: int = 0
    waits_s: list[float] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)

    def quantile_ms(self, share: float) -> float:
        """A quantile of the waits; what failed counts as having waited for the time-out."""
        waits = sorted([*self.waits_s, *[TIMEOUT_S] * sum(self.failed.values())])
        return waits[min(len(waits) - 1, int(share * len(waits)))] * 1000 if waits else 0.0


class Traffic:
    """Sends the mix to addresses in turn, like a balancer without a memory."""

    def __init__(self, urls: Sequence[str], seed: int, tag: str) -> None:
        self._clients = [
            TrafficClient(url, user_agent="bench", max_connections=CONNECTIONS, timeout_s=TIMEOUT_S) for url in urls
        ]
        self._draw = random.Random(seed)
        self._tag = tag
        self._orders: list[str] = []
        self._turn = 0

    async def run(self, rate_per_s: float, seconds: float) -> Outcome:
        """Poisson arrivals at ``rate_per_s``; returns when every request has its answer or has given up."""
        outcome, loop = Outcome(), asyncio.get_running_loop()
        start = due = loop.time()
        async with asyncio.TaskGroup() as tasks:
            while (due := due + self._draw.expovariate(rate_per_s)) < start + seconds:
                if (delay_s := due - loop.time()) > 0:
                    await asyncio.sleep(delay_s)
                tasks.create_task(self._send(due, outcome))
                outcome.sent += 1
        return outcome

    async def close(self) -> None:
        """Let go of the connections."""
        for client in self._clients:
            await client.close()

    async def _send(self, due: float, outcome: Outcome) -> None:
        self._turn += 1
        client = self._clients[self._turn % len(self._clients)]
        method, path, body = self._request()
        try:
            answer = await client.send(method, path, body)
        except NoAnswer as lost:
            outcome.failed[lost.reason] += 1
            return
        if not 200 <= answer.status < 300:
            outcome.failed[str(answer.status)] += 1
            return
        outcome.waits_s.append(asyncio.get_running_loop().time() - due)
        if method == "POST":
            self._orders = [*self._orders[-99:], json.loads(answer.body)["id"]]

    def _request(self) -> tuple[str, str, bytes | None]:
        draw = self._draw
        kind = draw.choices([name for name, _ in MIX], [weight for _, weight in MIX])[0]
        product = draw.randint(FIRST_PRODUCT, PRODUCTS)
        if draw.random() < POPULAR_SHARE:
            product = FIRST_PRODUCT + product % POPULAR
        if kind == "order":
            items = [{"product_id": draw.randint(FIRST_PRODUCT, PRODUCTS), "quantity": 1}]
            return "POST", "/v1/orders", json.dumps({"user_id": draw.randint(1, USERS), "items": items}).encode()
        if kind == "read-order" and self._orders:
            return "GET", f"/v1/orders/{draw.choice(self._orders)}", None
        if kind == "page":
            return "GET", "/v1/products?limit=20", None
        if kind == "user":
            return "GET", f"/v1/users/{draw.randint(1, USERS)}", None
        return "GET", f"/v1/products/{product}", None
