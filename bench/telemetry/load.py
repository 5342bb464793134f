"""Open-loop load at a fixed rate, and what is sent on each route.

Owns arrivals and requests. Knows nothing of modes and arithmetic. The client is the incidents' own.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from dataclasses import dataclass

from incidents.wire import NoAnswer, TrafficClient

USERS, FIRST_PRODUCT, PRODUCTS = 50_000, 11, 100_000  # the seeded data set; the first ten products are scarce
CACHED_PRODUCTS = 50  # few enough that every read but the first finds them in the cache


@dataclass(frozen=True)
class Route:
    """One kind of request. ``template`` names it in metrics; ``rate_per_s`` is what two cores carry with room, and
    ``warm_up`` how many requests fill every cache and pool."""

    name: str
    method: str
    template: str
    rate_per_s: float
    make: Callable[[random.Random], tuple[str, bytes | None]]
    warm_up: int = 200


def _order(draw: random.Random) -> tuple[str, bytes]:
    items = [{"product_id": draw.randint(FIRST_PRODUCT, PRODUCTS), "quantity": 1}]
    return "/v1/orders", json.dumps({"user_id": draw.randint(1, USERS), "items": items}).encode()


ROUTES = (
    Route("empty", "GET", "/empty", 600, lambda draw: ("/empty", None)),
    Route(
        "cached",
        "GET",
        "/v1/products/{product_id}",
        300,
        lambda draw: (f"/v1/products/{FIRST_PRODUCT + draw.randrange(CACHED_PRODUCTS)}", None),
        warm_up=1_000,
    ),
    Route("sql", "GET", "/v1/users/{user_id}", 400, lambda draw: (f"/v1/users/{draw.randint(1, USERS)}", None)),
    Route("order", "POST", "/v1/orders", 40, _order),
)


class Failed(Exception):
    """A request was not answered as it should be: the figures would be of something else."""


class Load:
    """Poisson arrivals at the route's rate on one process, over connections that stay. ``async with`` closes them."""

    def __init__(self, port: int, route: Route, seed: int, token: str | None) -> None:
        self._client = TrafficClient(f"http://127.0.0.1:{port}", user_agent="bench", max_connections=32, timeout_s=10)
        if token:
            self._client.sign_in(token)
        self._route = route
        self._draw = random.Random(seed)

    async def __aenter__(self) -> Load:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    async def send(self, requests: int) -> None:
        """Send so many and wait for the answers. Raises Failed unless each is a 2xx."""
        route, draw, loop = self._route, self._draw, asyncio.get_running_loop()
        planned = [(draw.expovariate(route.rate_per_s), *route.make(draw)) for _ in range(requests)]
        wrong: list[str] = []

        async def send_one(path: str, body: bytes | None) -> None:
            try:
                answer = await self._client.send(route.method, path, body)
                if not 200 <= answer.status < 300:
                    wrong.append(f"{route.method} {path} → {answer.status}")
            except NoAnswer as lost:
                wrong.append(f"{route.method} {path} → {lost.reason}")

        at = loop.time()
        async with asyncio.TaskGroup() as tasks:
            for gap_s, path, body in planned:
                at += gap_s
                if (delay_s := at - loop.time()) > 0:
                    await asyncio.sleep(delay_s)
                tasks.create_task(send_one(path, body))
        if wrong:
            raise Failed(f"{len(wrong)} of {requests} requests failed, the first: {wrong[0]}")


async def drive(port: int, route: Route, requests: int, seed: int, token: str | None) -> None:
    """A ``Load`` of so many requests and no more."""
    async with Load(port, route, seed, token) as load:
        await load.send(requests)
