"""What is seen while a scenario runs: once a second what was asked of the service, what came back, and how many
replicas were wished for and there.

Owns the samples and what follows from them. Decides nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

from bench.scaling.ground import Ground
from bench.scaling.traffic import Traffic
from stack.errors import StackError

INTERVAL_S = 1.0
QUERIES = {
    "pressure": 'scaling:pressure:ratio{{policy="{name}"}}',
    "asked": 'max(scaling:driver_pressure:ratio{{policy="{name}"}})',
    "in_flight": 'scaling:utilisation:ratio{{policy="{name}",driver="inFlight"}}',
    "paging": 'scaling:hold:active{{policy="{name}",reason="paging"}}',
    "connections": "sum(max by (state) (postgresql_backends))",
}


@dataclass(frozen=True)
class Sample:
    """One second. ``asked`` is the drivers' pressure before any hold; None: nobody could say."""

    at_s: float
    rate_per_s: float
    wished: int
    ready: int
    sent: int
    good: int
    bad: int
    p95_ms: float | None
    pressure: float | None
    asked: float | None
    in_flight: float | None
    paging: float | None
    connections: float | None


@dataclass
class Record:
    """The samples of one scenario."""

    samples: list[Sample] = field(default_factory=list)
    reasons: dict[str, int] = field(default_factory=dict)  # why requests failed

    @property
    def last(self) -> Sample:
        """The newest one."""
        return self.samples[-1]

    @property
    def sent(self) -> int:
        return sum(sample.sent for sample in self.samples)

    @property
    def bad(self) -> int:
        return sum(sample.bad for sample in self.samples)

    @property
    def good_ratio(self) -> float:
        """The share of answered requests that were good."""
        good = sum(sample.good for sample in self.samples)
        return good / (good + self.bad) if good + self.bad else 0.0

    @property
    def most(self) -> int:
        return max(sample.wished for sample in self.samples)

    def replica_seconds(self) -> float:
        """What was paid for: replicas wished for, or still there, over time."""
        return sum(
            max(before.wished, before.ready) * (after.at_s - before.at_s) for before, after in pairwise(self.samples)
        )

    def seconds(self) -> float:
        return self.samples[-1].at_s - self.samples[0].at_s

    def turns(self) -> int:
        """How often the number of replicas changed its direction."""
        moves = [
            after.wished - before.wished for before, after in pairwise(self.samples) if after.wished != before.wished
        ]
        return sum((one > 0) != (other > 0) for one, other in pairwise(moves))

    def since(self, at_s: float) -> list[Sample]:
        """The samples from a moment on."""
        return [sample for sample in self.samples if sample.at_s >= at_s]

    def document(self) -> list[dict[str, Any]]:
        """The samples as JSON."""
        return [asdict(sample) for sample in self.samples]


@asynccontextmanager
async def recording(ground: Ground, traffic: Traffic) -> AsyncIterator[Record]:
    """Record for the length of the block."""
    record = Record()
    watching = asyncio.create_task(_watch(ground, traffic, record))
    try:
        yield record
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def _watch(ground: Ground, traffic: Traffic, record: Record) -> None:
    started = time.monotonic()
    wished = ground.policy.minimum
    for number in _numbers():
        await asyncio.sleep(max(0.0, started + number * INTERVAL_S - time.monotonic()))
        queries = [ground.prometheus.value(text.format(name=ground.policy.name)) for text in QUERIES.values()]
        figures = dict(zip(QUERIES, await asyncio.gather(*queries), strict=True))
        try:
            wished = await ground.replicas()
        except StackError:
            ground.plane.check()
        outcome = traffic.take()
        for reason, count in outcome.bad.items():
            record.reasons[reason] = record.reasons.get(reason, 0) + count
        record.samples.append(
            Sample(
                at_s=round(time.monotonic() - started, 2),
                rate_per_s=round(traffic.rate_per_s, 2),
                wished=wished,
                ready=ground.kubelet.ready,
                sent=outcome.sent,
                good=outcome.good,
                bad=sum(outcome.bad.values()),
                p95_ms=outcome.quantile_ms(0.95),
                **figures,
            )
        )


def _numbers() -> Iterator[int]:
    number = 0
    while True:
        yield number
        number += 1
