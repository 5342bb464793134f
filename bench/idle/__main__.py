"""``make bench-idle``: what strangers' connections do to everybody else; needs the stack up.

10,000 idle connections, slow ones, and malformed and oversized requests, at the gateway and at a replica of the API
itself. Others ask at a steady rate, in turns with and without them, and the quantiles of both are compared. Writes
``bench/results/idle.json``; ends with 1 when idle connections were lost, an answer was a failure of the server's, or
p99 did not stay.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from bench.idle.aside import aside
from bench.idle.pressure import Connection, Pressure, Tally, Target, ask, idle, malformed, slow
from bench.keep import keep
from bench.promises.figures import percentile

RATE_PER_S = 100.0
OTHERS, PATH = 8, "/v2/products/42"
SLOW, MALFORMED_PER_S = 500, 50.0
# p99 stays: half as much again, and what a scheduler does to one request in a hundred.
MOST_RATIO, SLACK_MS = 1.5, 5.0


async def measure(target: Target, seconds: float) -> list[float]:
    """Waits in milliseconds, counted from when each request was meant to leave."""
    free: asyncio.Queue[Connection] = asyncio.Queue()
    connections = [await target.open(number) for number in range(OTHERS)]
    for connection in connections:
        free.put_nowait(connection)
    waits_ms: list[float] = []
    start = time.perf_counter()

    async def one(meant: float) -> None:
        await asyncio.sleep(max(0.0, meant - time.perf_counter()))
        connection = await free.get()
        status = await ask(connection, PATH)
        assert status == 200, status
        waits_ms.append((time.perf_counter() - meant) * 1e3)
        free.put_nowait(connection)

    await asyncio.gather(*(one(start + number / RATE_PER_S) for number in range(int(seconds * RATE_PER_S))))
    for _, writer in connections:
        writer.close()
    return waits_ms


async def run(target: Target, pressure: Pressure, seconds: float, turns: int) -> dict[str, Any]:
    """Figures of ``turns`` turns of ``seconds`` each way."""
    without, within, tally = list[float](), list[float](), Tally()
    for _ in range(turns):
        without += await measure(target, seconds)
        async with aside(pressure, target) as seen:
            within += await measure(target, seconds)
        tally.update(seen)  # adding would forget what is zero
        await asyncio.sleep(1)
    return judge(without, within, tally)


def judge(without: Sequence[float], within: Sequence[float], tally: Mapping[str, int]) -> dict[str, Any]:
    """Both ways beside each other, and whether everybody else noticed nothing."""
    before, during = _quantiles(without), _quantiles(within)
    stayed = during["p99_ms"] <= MOST_RATIO * before["p99_ms"] + SLACK_MS
    lost = tally["opened"] - tally["still_open"] if "still_open" in tally else 0
    # 505 is the protocol's word for a version that nobody speaks
    errors = sum(n for name, n in tally.items() if name.startswith("answered_5") and name != "answered_505")
    return {
        **dict(sorted(tally.items())),
        "requests": len(without) + len(within),
        "without": before,
        "with": during,
        "p99_ratio": round(during["p99_ms"] / before["p99_ms"], 2),
        "held": stayed and not lost and not errors and not tally.get("failed", 0),
    }


def _quantiles(waits_ms: Sequence[float]) -> dict[str, float]:
    return {f"p{q}_ms": round(percentile(waits_ms, q / 100), 2) for q in (50, 90, 99)}


def main() -> int:
    """Run, print a line a case, write the figures."""
    parser = argparse.ArgumentParser(prog="python -m bench.idle", description=__doc__)
    parser.add_argument("--gateway", default="http://127.0.0.1:8080")
    parser.add_argument("--api", default="http://127.0.0.1:8101", help="a replica")
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument(
        "--seconds", type=float, default=10.0, help="of load in each turn; the gateway waits 5 for a header"
    )
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--no-write", action="store_true")
    options = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, options.connections + 2 * SLOW), most))
    pressures = {
        "idle": partial(idle, options.connections),
        "slow": partial(slow, SLOW),
        "malformed": partial(malformed, MALFORMED_PER_S),
    }
    figures: dict[str, dict[str, Any]] = {}
    for target in (Target("gateway", options.gateway, "/healthz"), Target("api", options.api, "/livez")):
        for name, pressure in pressures.items():
            seen = asyncio.run(run(target, pressure, options.seconds, options.turns))
            figures.setdefault(target.name, {})[name] = seen
            sys.stdout.write(json.dumps({f"{name} at the {target.name}": seen}) + "\n")
    if not options.no_write:
        keep("idle", figures)
    return 0 if all(seen["held"] for cases in figures.values() for seen in cases.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
