"""The load: an open-loop, seeded stream of requests in a process of its own.

Owns the request mix, the arrival times and what clients saw of the answers. Refuses to know why load is wanted
and what the system's own telemetry says.

Open loop: arrivals follow the plan whether or not the system answers, and latency counts from the moment at which
a request was *meant* to leave, so a stalled system cannot slow its own examination (no coordinated omission).

`python -m incidents.drive` reads one `Job` as a JSON line on stdin and writes JSON lines on stdout: one a second
while it runs and the result at the end. It stops after its plan, on SIGTERM, or when stdin closes, so load never
outlives the process that asked for it.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from incidents.identity import fetch_token
from incidents.wire import Answer, NoAnswer, TrafficClient

USER_AGENT = "signalbox-load"
MAX_CONNECTIONS = 128
MAX_PENDING = 2_000
"""Requests under way or waiting for a connection; an arrival beyond is not sent and counts as unsent."""
REQUEST_TIMEOUT_S = 10.0
STOP_GRACE_S = 2.0
"""After a stop, answers under way are awaited for this long."""
MAX_REQUESTS = 250_000
"""No job may plan more: bounds the memory of its latencies (8 bytes each) and the harm of a typing error."""

# The seeded data set: users 1..50,000, products 1..100,000, of which 1..10 are scarce on purpose and left alone.
FIRST_PLENTIFUL_PRODUCT, LAST_PRODUCT, LAST_USER = 11, 100_000, 50_000
POPULAR_PRODUCTS = 40
"""So few that they are in every cache after a second or two."""


@dataclass(frozen=True)
class Step:
    """A rate held for some time; `for_s` None means until the job ends. `mix` replaces the job's while it lasts."""

    rate_per_s: float
    for_s: float | None = None
    mix: dict[str, float] | None = None


@dataclass(frozen=True)
class Job:
    """Everything that determines a run of load: the same job plans the same requests at the same times."""

    base_url: str
    mix: dict[str, float]
    steps: tuple[Step, ...]
    seed: int
    max_s: float
    issuer_url: str = ""

    @classmethod
    def parse(cls, text: str) -> Job:
        """Read a job from the JSON that `emit` wrote."""
        document: dict[str, Any] = json.loads(text)
        document["steps"] = tuple(Step(**step) for step in document["steps"])
        return cls(**document)

    def emit(self) -> str:
        """This job as one line of JSON."""
        return json.dumps(asdict(self))


@dataclass(frozen=True, slots=True)
class Request:
    """One planned request; `at_s` counts from the start of the load."""

    at_s: float
    route: str
    method: str
    path: str
    body: bytes | None = None


def _browse_products(draw: random.Random) -> tuple[str, str, str, bytes | None]:
    return "GET /v1/products", "GET", f"/v1/products?limit={draw.choice((10, 20, 50))}", None


def _read_product(draw: random.Random) -> tuple[str, str, str, bytes | None]:
    return "GET /v1/products/{product_id}", "GET", f"/v1/products/{_product(draw)}", None


def _read_popular_product(draw: random.Random) -> tuple[str, str, str, bytes | None]:
    product = FIRST_PLENTIFUL_PRODUCT + draw.randrange(POPULAR_PRODUCTS)
    return "GET /v1/products/{product_id}", "GET", f"/v1/products/{product}", None


def _read_hot_product(draw: random.Random) -> tuple[str, str, str, bytes | None]:
    return "GET /v1/products/{product_id}", "GET", f"/v1/products/{FIRST_PLENTIFUL_PRODUCT}", None


def _read_user(draw: random.Random) -> tuple[str, str, str, bytes | None]:
    return "GET /v1/users/{user_id}", "GET", f"/v1/users/{draw.randint(1, LAST_USER)}", None


def _create_order(draw: random.Random) -> tuple[str, str, str, bytes | None]:
    wanted = {_product(draw): draw.randint(1, 3) for _ in range(draw.randint(1, 3))}
    items = [{"product_id": product, "quantity": quantity} for product, quantity in wanted.items()]
    body = json.dumps({"user_id": draw.randint(1, LAST_USER), "items": items}).encode()
    return "POST /v1/orders", "POST", "/v1/orders", body


def _product(draw: random.Random) -> int:
    """A product id, the low ones far oftener: cubing a uniform draw puts half of all reads on an eighth of the ids."""
    return FIRST_PLENTIFUL_PRODUCT + int(draw.random() ** 3 * (LAST_PRODUCT - FIRST_PLENTIFUL_PRODUCT + 1))


REQUEST_KINDS: dict[str, Callable[[random.Random], tuple[str, str, str, bytes | None]]] = {
    "browse_products": _browse_products,
    "read_product": _read_product,
    "read_popular_product": _read_popular_product,
    "read_hot_product": _read_hot_product,
    "read_user": _read_user,
    "create_order": _create_order,
}


def plan(job: Job) -> Iterator[Request]:
    """The requests of `job` in order of time: Poisson arrivals, kinds drawn by weight, all from the seed."""
    draw = random.Random(job.seed)
    begins_s = 0.0
    planned = 0
    for step in job.steps:
        mix = step.mix or job.mix
        kinds, weights = list(mix), list(mix.values())
        ends_s = job.max_s if step.for_s is None else min(begins_s + step.for_s, job.max_s)
        at_s = begins_s
        while (at_s := at_s + draw.expovariate(step.rate_per_s)) < ends_s:
            if (planned := planned + 1) > MAX_REQUESTS:
                return
            (kind,) = draw.choices(kinds, weights)
            yield Request(at_s, *REQUEST_KINDS[kind](draw))
        begins_s = ends_s


def quantile(values: list[float], q: float) -> float | None:
    """The q-quantile (nearest rank) of sorted `values`, None when there are none."""
    return values[max(0, math.ceil(q * len(values)) - 1)] if values else None


@dataclass
class _Cell:
    """Counts and latencies of some requests. Outcomes: good < 400, refused 4xx, bad 5xx or no answer."""

    statuses: Counter[str] = field(default_factory=Counter)
    latencies_ms: list[float] = field(default_factory=list)
    good: int = 0
    refused: int = 0
    bad: int = 0

    def add(self, status: int | str, latency_ms: float) -> None:
        self.statuses[str(status)] += 1
        self.latencies_ms.append(latency_ms)
        if isinstance(status, str) or status >= 500:
            self.bad += 1
        elif status >= 400:
            self.refused += 1
        else:
            self.good += 1

    def summary(self) -> dict[str, Any]:
        ordered = sorted(self.latencies_ms)
        quantiles = {f"p{percent}_ms": quantile(ordered, percent / 100) for percent in (50, 90, 99)}
        return {"good": self.good, "refused": self.refused, "bad": self.bad, **quantiles}


class Tally:
    """What clients saw: by route, and by the second in which a request was meant to leave."""

    def __init__(self) -> None:
        self.routes: dict[str, _Cell] = {}
        self.seconds: dict[int, _Cell] = {}
        self.send_lags_ms: list[float] = []
        self.failing_trace_ids: list[str] = []
        self.sent = self.unsent = 0

    def add(self, request: Request, status: int | str, latency_s: float, trace_id: str | None = None) -> None:
        """Count one finished request; `status` is the HTTP status or the reason why there was no answer."""
        latency_ms = round(latency_s * 1e3, 3)
        for cell in (
            self.routes.setdefault(request.route, _Cell()),
            self.seconds.setdefault(int(request.at_s), _Cell()),
        ):
            cell.add(status, latency_ms)
        if trace_id and isinstance(status, int) and status >= 500 and len(self.failing_trace_ids) < 20:
            self.failing_trace_ids.append(trace_id)

    def second(self, second: int) -> dict[str, Any]:
        """The summary of one second."""
        return {"at_s": second, **self.seconds.get(second, _Cell()).summary()}

    def result(self) -> dict[str, Any]:
        """Everything, as plain data."""
        lags = sorted(self.send_lags_ms)
        return {
            "sent": self.sent,
            "unsent": self.unsent,
            "answered": sum(len(cell.latencies_ms) for cell in self.routes.values()),
            "send_lag_ms": {"p50": quantile(lags, 0.5), "p99": quantile(lags, 0.99), "max": lags[-1] if lags else None},
            "routes": {
                route: {"statuses": dict(sorted(cell.statuses.items())), **cell.summary()}
                for route, cell in sorted(self.routes.items())
            },
            "seconds": [self.second(second) for second in range(max(self.seconds, default=-1) + 1)],
            "failing_trace_ids": self.failing_trace_ids,
            "cpu_s": round(time.process_time(), 3),
        }


async def drive(job: Job, stop: asyncio.Event, on_second: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Send the plan of `job` until it ends or `stop` is set; return what clients saw.

    `on_second` is called about once a second with the summary of a second that lies two seconds back: what is slower
    than that is missing there, and counted in the result.
    """
    loop = asyncio.get_running_loop()
    client = TrafficClient(
        job.base_url, user_agent=USER_AGENT, max_connections=MAX_CONNECTIONS, timeout_s=REQUEST_TIMEOUT_S
    )
    if token := await fetch_token(job.issuer_url):
        client.sign_in(token)
    tally = Tally()
    pending: set[asyncio.Task[None]] = set()
    start, started_at = loop.time(), time.time()

    async def send(request: Request) -> None:
        meant = start + request.at_s
        tally.send_lags_ms.append(round((loop.time() - meant) * 1e3, 3))
        try:
            answer: Answer = await client.send(request.method, request.path, request.body)
            tally.add(request, answer.status, loop.time() - meant, answer.trace_id)
        except NoAnswer as lost:
            tally.add(request, lost.reason, loop.time() - meant)

    async def report() -> None:
        for second in itertools.count():
            await asyncio.sleep(max(0.0, start + second + 2 - loop.time()))
            on_second(tally.second(second))

    async def arrive() -> None:
        for request in plan(job):
            if (delay := start + request.at_s - loop.time()) > 0:
                await asyncio.sleep(delay)
            if len(pending) >= MAX_PENDING:
                tally.unsent += 1
                continue
            tally.sent += 1
            task = asyncio.create_task(send(request))
            pending.add(task)
            task.add_done_callback(pending.discard)

    arrivals, reporter, stopped = (asyncio.create_task(work) for work in (arrive(), report(), stop.wait()))
    try:
        await asyncio.wait((arrivals, stopped), return_when=asyncio.FIRST_COMPLETED)
        arrivals.cancel()
        if pending:
            await asyncio.wait(pending, timeout=STOP_GRACE_S if stop.is_set() else REQUEST_TIMEOUT_S)
    finally:
        for task in (arrivals, reporter, stopped, *pending):
            task.cancel()
        await client.close()
    return {"started_at": started_at, **tally.result()}


async def _serve_one_job() -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    stdin = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)
    job = Job.parse((await stdin.readline()).decode())

    async def stop_at_end_of_input() -> None:
        await stdin.read()
        stop.set()

    watcher = asyncio.create_task(stop_at_end_of_input())
    result = await drive(job, stop, lambda second: _write({"second": second}))
    watcher.cancel()
    _write({"result": result})


def _write(document: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(_serve_one_job())
