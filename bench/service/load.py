"""Mixed traffic, open loop: requests leave when they are due, however long the answers take.

Owns the mix, arrivals and what came back. A wait is counted from when the request was due, so a server that falls
behind cannot hide it (no coordinated omission).
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from bench.service.people import Person
from incidents.wire import NoAnswer, TrafficClient

FIRST_PRODUCT, PRODUCTS = 11, 100_000  # the seeded data set; the first ten products are scarce
POPULAR, POPULAR_SHARE = 200, 0.8  # of the product views go to so few products
# Views of one product, pages of the catalogue, one's own account, placing an order, reading one back.
MIX = (("product", 50), ("page", 15), ("user", 15), ("order", 10), ("read-order", 10))
CONNECTIONS = 8  # of one person, like a browser's
ORDERS_REMEMBERED = 20
TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: when it was due since the run began, and how long its answer took from then on.

    What failed says why, and counts as having waited for the time-out.
    """

    due_s: float
    wait_s: float
    failure: str = ""


@dataclass
class Outcome:
    """What came of one run."""

    asked: list[Asked] = field(default_factory=list)

    @property
    def sent(self) -> int:
        """Requests, answered or not."""
        return len(self.asked)

    @property
    def failed(self) -> Counter[str]:
        """Those without a good answer, by reason or status."""
        return Counter(one.failure for one in self.asked if one.failure)

    def quantile_ms(self, share: float) -> float:
        """A quantile of the waits, 0 when nothing was asked."""
        waits = sorted(one.wait_s for one in self.asked)
        return waits[min(len(waits) - 1, int(share * len(waits)))] * 1000 if waits else 0.0

    def due_between(self, start_s: float, end_s: float) -> Outcome:
        """Of the requests that were due in that time."""
        return Outcome([one for one in self.asked if start_s <= one.due_s < end_s])


Leg = tuple[float, float]
"""Requests a second, and for how many seconds."""


def arrivals(draw: random.Random, legs: Iterable[Leg]) -> Iterator[float]:
    """Seconds since the start at which requests are due: Poisson, leg after leg."""
    begin_s = 0.0
    for rate_per_s, seconds in legs:
        at_s = begin_s
        while (at_s := at_s + draw.expovariate(rate_per_s)) < begin_s + seconds:
            yield at_s
        begin_s += seconds


class _Hands:
    """What one person asks with, and has ordered."""

    def __init__(self, url: str, person: Person) -> None:
        self.user_id = person.user_id
        self.wire = TrafficClient(url, user_agent="bench", max_connections=CONNECTIONS, timeout_s=TIMEOUT_S)
        self.wire.sign_in(person.token)
        self.orders: list[str] = []


class Traffic:
    """Sends the mix to one address, each request as one of ``people``."""

    def __init__(self, url: str, people: Sequence[Person], seed: int) -> None:
        self._hands = [_Hands(url, person) for person in people]
        self._draw = random.Random(seed)

    async def run(self, *legs: Leg) -> Outcome:
        """Return when every request of the ``legs`` has its answer or has given up."""
        outcome, loop = Outcome(), asyncio.get_running_loop()
        start = loop.time()
        async with asyncio.TaskGroup() as tasks:
            for due_s in arrivals(self._draw, legs):
                if (delay_s := start + due_s - loop.time()) > 0:
                    await asyncio.sleep(delay_s)
                tasks.create_task(self._send(start, due_s, outcome))
        return outcome

    async def close(self) -> None:
        """Let go of the connections."""
        for hands in self._hands:
            await hands.wire.close()

    async def _send(self, start: float, due_s: float, outcome: Outcome) -> None:
        hands = self._draw.choice(self._hands)
        method, path, body = self._request(hands)
        try:
            answer = await hands.wire.send(method, path, body)
        except NoAnswer as lost:
            outcome.asked.append(Asked(due_s, TIMEOUT_S, lost.reason))
            return
        if not 200 <= answer.status < 300:
            outcome.asked.append(Asked(due_s, TIMEOUT_S, str(answer.status)))
            return
        outcome.asked.append(Asked(due_s, asyncio.get_running_loop().time() - start - due_s))
        if method == "POST":
            hands.orders = [*hands.orders[1 - ORDERS_REMEMBERED :], json.loads(answer.body)["id"]]

    def _request(self, hands: _Hands) -> tuple[str, str, bytes | None]:
        draw = self._draw
        kind = draw.choices([name for name, _ in MIX], [weight for _, weight in MIX])[0]
        product = draw.randint(FIRST_PRODUCT, PRODUCTS)
        if draw.random() < POPULAR_SHARE:
            product = FIRST_PRODUCT + product % POPULAR
        if kind == "order":
            items = [{"product_id": draw.randint(FIRST_PRODUCT, PRODUCTS), "quantity": 1}]
            return "POST", "/v1/orders", json.dumps({"user_id": hands.user_id, "items": items}).encode()
        if kind == "read-order" and hands.orders:
            return "GET", f"/v1/orders/{draw.choice(hands.orders)}", None
        if kind == "page":
            return "GET", "/v1/products?limit=20", None
        if kind == "user":
            return "GET", f"/v1/users/{hands.user_id}", None
        return "GET", f"/v1/products/{product}", None


async def drive(url: str, people: Sequence[Person], seed: int, *legs: Leg) -> Outcome:
    """One run of new connections."""
    traffic = Traffic(url, people, seed)
    try:
        return await traffic.run(*legs)
    finally:
        await traffic.close()
