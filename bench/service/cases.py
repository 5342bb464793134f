"""What is measured, and what is made of it.

Figures that compare are CPU time, of servers that run side by side and are driven in turn, round after round, and each
is the median of ratios within a round: other work on the machine meets both alike. Waits and knees are of this machine
at that moment. Owns the arithmetic. Knows nothing of how servers are started.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import psutil

from bench.service.load import Outcome, Traffic
from bench.service.servers import ALL_STEPS, PLAIN, SERVICE, STEPS, Behind, Server, Variant, gateway, running

# The knee: one request in a thousand fails, or the slowest in twenty waits longer than this.
MOST_P95_MS = 250.0
MOST_FAILED = 0.001
FIRST_RATE, STEP = 50.0, 1.4
REPLICAS = (1, 2, 4)
COMPARED_RATE = 30.0  # what the plain variant carries as well
SPIKE = 10
LEAST_RATE = 2.0
FULL = 0.9  # of all cores: nothing can be carried beyond that, whichever part comes first

# What the blueprint says that this way of doing it brings: shares of the plain variant's, and failures in a deploy.
CLAIMED_P95, CLAIMED_COST, CLAIMED_FAILED = -0.80, -0.40, 0

SERVERS, DRIVER = "servers", "the load driver"

Tell = Callable[[str], None]


def knee(behind: Behind, seconds: float, tell: Tell) -> list[dict[str, Any]]:
    """The highest rate that so many replicas carry, and what was full beyond it.

    Rates rise to the knee from the first; where not even that is carried, they fall until one is.
    """
    found = []
    for replicas in REPLICAS:
        with running(SERVICE, behind.environment, replicas) as servers:
            asyncio.run(_drive(servers, FIRST_RATE, seconds, seed=1))  # pools and caches are filled
            rate, best, beyond = FIRST_RATE, None, None
            while rate >= LEAST_RATE and not (best and beyond):
                figures = _at_rate(servers, behind, rate, seconds)
                tell(f"{replicas} replicas, {rate:.0f}/s: p95 {figures['p95_ms']:.0f} ms {figures['why']}")
                if figures["why"]:
                    beyond = figures
                else:
                    best = figures
                rate = rate * STEP if beyond is None else rate / STEP
        at = best or beyond
        assert at is not None
        cores = sum(used for name, used in at["cores"].items() if name != DRIVER)
        found.append(
            {
                "replicas": replicas,
                "carried": best,
                "beyond": beyond,
                "requests_per_core_s": round(at["rate_per_s"] / cores, 1) if cores else None,
                "saturates_first": _first_full(beyond or at, replicas),
            }
        )
    return found


def _at_rate(servers: Sequence[Server], behind: Behind, rate: float, seconds: float) -> dict[str, Any]:
    """Waits, failures, cores used by each part and the share of the whole machine; ``why`` it is too much, if it is."""
    before, busy_before, started = _cpu(servers, behind), _busy_s(), time.monotonic()
    outcome = asyncio.run(_drive(servers, rate, seconds, seed=round(rate)))
    took_s = time.monotonic() - started
    used = {name: (cpu - before[name]) / took_s for name, cpu in _cpu(servers, behind).items()}
    busy = (_busy_s() - busy_before) / took_s / (os.cpu_count() or 1)
    return {**_figures(rate, outcome, used), "machine_busy": round(busy, 2), "why": _over(outcome)}


def compare(behind: Behind, rounds: int, seconds: float, tell: Tell) -> dict[str, Any]:
    """Plain, each improvement on its own, all of them, and the service: driven in turn at the same rate."""
    variants = [PLAIN, *STEPS, ALL_STEPS, SERVICE]
    seen: dict[str, list[dict[str, Any]]] = {variant.name: [] for variant in variants}
    with _all_running(variants, behind) as servers:
        for number in range(rounds + 1):
            for variant in variants if number % 2 else reversed(variants):
                server = servers[variant.name]
                before = _cpu([server], behind)
                outcome = asyncio.run(_drive([server], COMPARED_RATE, seconds, seed=number))
                used = {name: cpu - before[name] for name, cpu in _cpu([server], behind).items()}
                if number:  # the first round fills pools and caches
                    seen[variant.name].append(
                        {
                            "p95_ms": outcome.quantile_ms(0.95),
                            "server_ms": 1000 * used[SERVERS] / outcome.sent,
                            "all_ms": 1000 * sum(cpu for name, cpu in used.items() if name != DRIVER) / outcome.sent,
                            "failed": sum(outcome.failed.values()),
                            "sent": outcome.sent,
                        }
                    )
            tell(f"compared: round {number} of {rounds}")
    return {name: _against(figures, seen[PLAIN.name]) for name, figures in seen.items()}


def deploy(behind: Behind, seconds: float, tell: Tell) -> dict[str, Any]:
    """Failed requests while two replicas are replaced, one after the other, behind the stack's own gateway."""
    found = {}
    for variant in (PLAIN, SERVICE):
        with running(variant, behind.environment, 2) as servers, gateway(behind, servers) as url:
            outcome = asyncio.run(_deploy(servers, url, seconds))
        found[variant.name] = {"sent": outcome.sent, "failed": sum(outcome.failed.values()), "by": outcome.failed}
        tell(f"deploy of {variant.name}: {sum(outcome.failed.values())} of {outcome.sent} failed")
    return found


def spike(behind: Behind, seconds: float, tell: Tell) -> dict[str, Any]:
    """Ten times the usual rate for a while, and how it is afterwards."""
    found: dict[str, Any] = {}
    for variant in (PLAIN, SERVICE):
        with running(variant, behind.environment) as servers:
            phases = {}
            for phase, rate in (("before", 10.0), ("spike", 10.0 * SPIKE), ("after", 10.0)):
                outcome = asyncio.run(_drive(servers, rate, seconds, seed=7))
                phases[phase] = _figures(rate, outcome, {})
                tell(f"spike, {variant.name}, {phase}: p95 {outcome.quantile_ms(0.95):.0f} ms")
        found[variant.name] = phases
    return found


async def _drive(servers: Sequence[Server], rate_per_s: float, seconds: float, seed: int) -> Outcome:
    return await _drive_at([server.url for server in servers], rate_per_s, seconds, seed)


async def _drive_at(urls: Sequence[str], rate_per_s: float, seconds: float, seed: int) -> Outcome:
    traffic = Traffic(urls, seed, "bench")
    try:
        return await traffic.run(rate_per_s, seconds)
    finally:
        await traffic.close()


async def _deploy(servers: Sequence[Server], url: str, seconds: float) -> Outcome:
    """Drive for ``seconds`` before, while and after each server is replaced."""
    outcomes = [await _drive_at([url], COMPARED_RATE, seconds, seed=3)]
    for server in servers:
        replaced = asyncio.create_task(asyncio.to_thread(_replace, server))
        while not replaced.done():
            outcomes.append(await _drive_at([url], COMPARED_RATE, 1.0, seed=len(outcomes)))
        await replaced
    outcomes.append(await _drive_at([url], COMPARED_RATE, seconds, seed=5))
    total = Outcome()
    for outcome in outcomes:
        total.sent += outcome.sent
        total.waits_s += outcome.waits_s
        total.failed += outcome.failed
    return total


def _replace(server: Server) -> None:
    server.leave()
    server.start()
    server.await_ready()


class _all_running:
    """Every variant side by side."""

    def __init__(self, variants: Sequence[Variant], behind: Behind) -> None:
        self._contexts = {variant.name: running(variant, behind.environment) for variant in variants}

    def __enter__(self) -> dict[str, Server]:
        return {name: context.__enter__()[0] for name, context in self._contexts.items()}

    def __exit__(self, *reason: Any) -> None:
        for context in self._contexts.values():
            context.__exit__(*reason)


def claims(compared: dict[str, Any], deployed: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The blueprint's three claims beside what was measured, as changes against the plain variant.

    Cost is CPU time a request, of the service and of everything behind it.
    """
    against = compared[SERVICE.name]["against_plain"]
    measured = {
        "p95 at the same rate": (CLAIMED_P95, round(against["p95"] - 1, 3)),
        "cost of a request": (CLAIMED_COST, round(against["all_cpu"] - 1, 3)),
        "requests failed in a deploy": (CLAIMED_FAILED, deployed[SERVICE.name]["failed"]),
    }
    return {
        name: {"claimed": claimed, "measured": ours, "held": ours <= claimed}
        for name, (claimed, ours) in measured.items()
    }


def _cpu(servers: Sequence[Server], behind: Behind) -> dict[str, float]:
    return {SERVERS: sum(server.cpu_s() for server in servers), DRIVER: time.process_time(), **behind.cpu_s()}


def _busy_s() -> float:
    """CPU time that the whole machine has spent on anything, other people's work included."""
    times = psutil.cpu_times()
    return times.user + times.nice + times.system + times.irq + times.softirq + times.steal


def _over(outcome: Outcome) -> str:
    failed = sum(outcome.failed.values())
    if failed > MOST_FAILED * outcome.sent:
        return f"{failed} of {outcome.sent} failed"
    p95_ms = outcome.quantile_ms(0.95)
    return f"p95 is {p95_ms:.0f} ms" if p95_ms > MOST_P95_MS else ""


def _figures(rate: float, outcome: Outcome, used: dict[str, float]) -> dict[str, Any]:
    return {
        "rate_per_s": round(rate, 1),
        "p50_ms": round(outcome.quantile_ms(0.5), 1),
        "p95_ms": round(outcome.quantile_ms(0.95), 1),
        "sent": outcome.sent,
        "failed": sum(outcome.failed.values()),
        "cores": {name: round(cores, 2) for name, cores in used.items()},
    }


def _first_full(figures: dict[str, Any], replicas: int) -> str:
    """Which part is nearest to all it can use, a core for each process; or the machine, when that is full before."""
    shares = {name: used / (replicas if name == SERVERS else 1) for name, used in figures["cores"].items()}
    name = max(shares, key=lambda part: shares[part])
    said = f"{'the service' if name == SERVERS else name}: {shares[name]:.0%} of a core each"
    if figures["machine_busy"] < FULL or shares[name] >= FULL:
        return said
    return f"the machine: {figures['machine_busy']:.0%} of {os.cpu_count()} cores are busy; then {said}"


def _against(figures: Sequence[dict[str, Any]], plain: Sequence[dict[str, Any]]) -> dict[str, Any]:
    def ratio(key: str) -> float:
        return round(median(mine[key] / theirs[key] for mine, theirs in zip(figures, plain, strict=True)), 3)

    return {
        "p95_ms": round(median(figure["p95_ms"] for figure in figures), 1),
        "server_cpu_s_per_1000": round(median(figure["server_ms"] for figure in figures), 3),
        "all_cpu_s_per_1000": round(median(figure["all_ms"] for figure in figures), 3),
        "failed": sum(figure["failed"] for figure in figures),
        "sent": sum(figure["sent"] for figure in figures),
        "against_plain": {"p95": ratio("p95_ms"), "server_cpu": ratio("server_ms"), "all_cpu": ratio("all_ms")},
    }
