"""The knee: the highest rate that is carried, and what is full beyond it.

Rates rise until one is too much; then the space between is halved until it is narrow. Owns what too much means, the
search, and the words on what is full. Knows nothing of how servers are started.
"""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import psutil

from bench.service import pools
from bench.service.load import Outcome, drive
from bench.service.servers import GATEWAY, SERVERS, Behind, Fleet

# Too much: one request in a thousand fails, or the slowest in twenty waits longer than this.
MOST_P95_MS = 250.0
MOST_FAILED = 0.001
FIRST_RATE, STEP, LEAST_RATE = 50.0, 1.4, 2.0
LEAST_REQUESTS = 60  # or the slowest in twenty is one by chance
FULL = 0.9  # of a core or of all: beyond that whatever wants one waits
ALWAYS_WAITING = 1.0  # on average
DRIVER = "the load driver"
# These use as many cores as there are; every other process of ours has one.
MANY_CORES = (GATEWAY, "postgres", "postgres-replica", "collector")

Tell = Callable[[str], None]


def next_rate(carried: Mapping[float, bool], fineness: float) -> float | None:
    """What to try after ``carried`` (by rate, whether it was); None when the knee is known to a factor ``fineness``."""
    if not carried:
        return FIRST_RATE
    best = max((rate for rate, was in carried.items() if was), default=None)
    if best is None:
        lower = min(carried) / STEP
        return lower if lower >= LEAST_RATE else None
    beyond = min((rate for rate, was in carried.items() if not was and rate > best), default=None)
    if beyond is None:
        return best * STEP
    return math.sqrt(best * beyond) if beyond / best > fineness else None


def find_knee(fleet: Fleet, behind: Behind, seconds: float, fineness: float, tell: Tell) -> dict[str, Any]:
    """The knee of a fleet, and every rate that was tried on the way.

    A rate is too much when it was so twice: the machine may have been busy with something else the first time.
    """
    asyncio.run(drive(fleet.url, behind.people, 1, (FIRST_RATE, seconds)))  # pools and caches are filled
    tried: dict[float, dict[str, Any]] = {}
    while (rate := next_rate({rate: not of["why"] for rate, of in tried.items()}, fineness)) is not None:
        figures = _at_rate(fleet, behind, rate, seconds)
        if figures["why"]:
            figures = _at_rate(fleet, behind, rate, seconds)
        tried[rate] = figures
        tell(f"{len(fleet.servers)} × {rate:.0f}/s: p95 {figures['p95_ms']:.0f} ms {figures['why']}")
    return judge_knee(tried, len(fleet.servers), os.cpu_count() or 1)


def judge_knee(tried: Mapping[float, dict[str, Any]], replicas: int, machine_cores: int) -> dict[str, Any]:
    """What the rates that were tried say."""
    carried = max((rate for rate, of in tried.items() if not of["why"]), default=0.0)
    best = tried.get(carried)
    beyond = tried.get(min((rate for rate in tried if rate > carried), default=0.0))
    at = best or beyond
    assert at is not None
    cores = sum(used for name, used in at["cores"].items() if name != DRIVER)
    return {
        "replicas": replicas,
        "carried": best,
        "beyond": beyond,
        "requests_per_core_s": round(at["rate_per_s"] / cores, 1) if cores else None,
        "saturates_first": first_full(beyond or at, replicas, machine_cores),
        "points": [tried[rate] for rate in sorted(tried)],
    }


def first_full(figures: Mapping[str, Any], replicas: int, machine_cores: int) -> str:
    """Which part is nearest to all it can use; or the machine, or a pool of connections, when that is fuller.

    A pool is full when somebody always waits. On a full machine everything waits, so there that comes second. Where
    nothing is full that is said first: then it was too much for another reason, such as chance or what nobody measures.
    """
    bounds = {SERVERS: replicas, **dict.fromkeys(MANY_CORES, machine_cores)}
    shares = {name: used / bounds.get(name, 1) for name, used in figures["cores"].items()}
    name, busy = max(shares, key=lambda part: shares[part]), figures["machine_busy"]
    if shares[name] >= busy:
        said = f"{_called(name)}: {shares[name]:.0%} of all that it can use"
    else:
        said = (
            f"the machine: {busy:.0%} of {machine_cores} cores are busy (most of it: {_users(figures, machine_cores)})"
        )
    waiting = {pool: of for pool, of in figures["pools"].items() if of["waiting"] >= ALWAYS_WAITING}
    full = max(shares[name], busy) >= FULL
    if not waiting:
        return said if full else f"nothing was full{_yet(figures)}; fullest: {said}"
    pool, of = max(waiting.items(), key=lambda item: item[1]["waiting"])
    queue = f"the pool of the {pool}: {of['waiting']:.1f} wait for one of {of['most']} connections"
    return f"{said}; {queue}" if full else f"{queue}; {said}"


def _yet(figures: Mapping[str, Any]) -> str:
    return f", yet {figures['why']}" if figures["why"] else ""


def _users(figures: Mapping[str, Any], machine_cores: int) -> str:
    others = figures["machine_busy"] * machine_cores - sum(figures["cores"].values())
    used = {**figures["cores"], "what else runs here": max(0.0, others)}
    return ", ".join(f"{_called(name)} {used[name]:.2f}" for name in sorted(used, key=lambda part: -used[part])[:3])


def _called(name: str) -> str:
    return "the service" if name == SERVERS else name


def measured(rate: float, outcome: Outcome, used: Mapping[str, float]) -> dict[str, Any]:
    """Waits, failures, and cores ``used`` by part."""
    return {
        "rate_per_s": round(rate, 1),
        "p50_ms": round(outcome.quantile_ms(0.5), 1),
        "p95_ms": round(outcome.quantile_ms(0.95), 1),
        "sent": outcome.sent,
        "failed": outcome.failed.total(),
        "cores": {name: round(cores, 2) for name, cores in used.items()},
    }


def cpu_s(fleet: Fleet, behind: Behind) -> dict[str, float]:
    """CPU time so far by part, this process and what stands behind included."""
    return {**fleet.cpu_s(), DRIVER: time.process_time(), **behind.cpu_s()}


def too_much(outcome: Outcome) -> str:
    """Why it was, if it was."""
    failed = outcome.failed.total()
    if failed > MOST_FAILED * outcome.sent:
        return f"{failed} of {outcome.sent} failed"
    p95_ms = outcome.quantile_ms(0.95)
    return f"p95 is {p95_ms:.0f} ms" if p95_ms > MOST_P95_MS else ""


def _at_rate(fleet: Fleet, behind: Behind, rate: float, seconds: float) -> dict[str, Any]:
    urls = [server.url for server in fleet.servers]
    pools_before = pools.ask(urls)
    before, busy_before, started = cpu_s(fleet, behind), _busy_s(), time.monotonic()
    for_s = max(seconds, LEAST_REQUESTS / rate)
    outcome = asyncio.run(drive(fleet.url, behind.people, round(rate), (rate, for_s)))
    took_s = time.monotonic() - started
    used = {name: (cpu - before[name]) / took_s for name, cpu in cpu_s(fleet, behind).items()}
    busy = (_busy_s() - busy_before) / took_s / (os.cpu_count() or 1)
    waits = pools.between(pools_before, pools.ask(urls), took_s)
    figures = measured(rate, outcome, used)
    return {**figures, "pools": waits, "machine_busy": round(busy, 2), "why": too_much(outcome)}


def _busy_s() -> float:
    """CPU time that the whole machine has spent on anything, other people's work included."""
    times = psutil.cpu_times()
    return times.user + times.nice + times.system + times.irq + times.softirq + times.steal
