"""What the service is compared by: the same rate, a deploy, and each improvement by itself.

Figures that compare are CPU time, of servers that run side by side and are driven in turn, round after round, and each
is the median of ratios within a round: other work on the machine meets both alike. Waits are of this machine at that
moment. Everything is asked through a gateway, by people who have signed in. Owns the arithmetic. Knows nothing of how
servers are started.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack
from statistics import median
from typing import Any

from bench.service.knee import DRIVER, Tell, cpu_s
from bench.service.load import Outcome, drive
from bench.service.servers import ALL_STEPS, PLAIN, SERVERS, SERVICE, STEPS, Behind, Fleet, Server, running

COMPARED_RATE = 30.0  # what the plain variant carries as well

# What the blueprint says that this way of doing it brings: shares of the plain variant's, and failures in a deploy.
CLAIMED_P95, CLAIMED_COST, CLAIMED_FAILED = -0.80, -0.40, 0


def compare(behind: Behind, rounds: int, seconds: float, tell: Tell) -> dict[str, Any]:
    """Plain, each improvement on its own, all of them, and the service: driven in turn at the same rate."""
    variants = [PLAIN, *STEPS, ALL_STEPS, SERVICE]
    seen: dict[str, list[dict[str, Any]]] = {variant.name: [] for variant in variants}
    with ExitStack() as ending:
        fleets = {variant.name: ending.enter_context(running(behind, variant)) for variant in variants}
        for number in range(rounds + 1):
            for variant in variants if number % 2 else reversed(variants):
                figures = _one_turn(fleets[variant.name], behind, seconds, seed=number)
                if number:  # the first round fills pools and caches
                    seen[variant.name].append(figures)
            tell(f"compared: round {number} of {rounds}")
    return {name: against(figures, seen[PLAIN.name]) for name, figures in seen.items()}


def _one_turn(fleet: Fleet, behind: Behind, seconds: float, seed: int) -> dict[str, Any]:
    before = cpu_s(fleet, behind)
    outcome = asyncio.run(drive(fleet.url, behind.people, seed, (COMPARED_RATE, seconds)))
    used = {name: cpu - before[name] for name, cpu in cpu_s(fleet, behind).items() if name != DRIVER}
    return {
        "p95_ms": outcome.quantile_ms(0.95),
        "server_ms": 1000 * used[SERVERS] / outcome.sent,
        "all_ms": 1000 * sum(used.values()) / outcome.sent,
        "parts_ms": {name: 1000 * cpu / outcome.sent for name, cpu in used.items()},
        "failed": outcome.failed.total(),
        "sent": outcome.sent,
    }


def against(figures: Sequence[dict[str, Any]], plain: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Medians over the rounds, and medians of the ratios to the plain variant's figures of the same round."""

    def ratio(key: str) -> float:
        return round(median(mine[key] / theirs[key] for mine, theirs in zip(figures, plain, strict=True)), 3)

    parts = {name: median(of["parts_ms"][name] for of in figures) for name in figures[0]["parts_ms"]}
    return {
        "p95_ms": round(median(figure["p95_ms"] for figure in figures), 1),
        "server_cpu_s_per_1000": round(median(figure["server_ms"] for figure in figures), 3),
        "all_cpu_s_per_1000": round(median(figure["all_ms"] for figure in figures), 3),
        "cpu_s_per_1000_by_part": {name: round(ms, 3) for name, ms in parts.items()},
        "failed": sum(figure["failed"] for figure in figures),
        "sent": sum(figure["sent"] for figure in figures),
        "against_plain": {"p95": ratio("p95_ms"), "server_cpu": ratio("server_ms"), "all_cpu": ratio("all_ms")},
    }


def deploy(behind: Behind, seconds: float, tell: Tell) -> dict[str, Any]:
    """Failed requests while two replicas are replaced, one after the other, behind the gateway."""
    found = {}
    for variant in (PLAIN, SERVICE):
        with running(behind, variant, 2) as fleet:
            outcome = asyncio.run(_deploy(fleet, behind, seconds))
        found[variant.name] = {"sent": outcome.sent, "failed": outcome.failed.total(), "by": outcome.failed}
        tell(f"deploy of {variant.name}: {outcome.failed.total()} of {outcome.sent} failed")
    return found


async def _deploy(fleet: Fleet, behind: Behind, seconds: float) -> Outcome:
    """Drive for ``seconds`` before and after, and while each server is replaced."""
    total = Outcome()

    async def drive_for(seconds: float) -> None:
        total.asked += (await drive(fleet.url, behind.people, total.sent, (COMPARED_RATE, seconds))).asked

    await drive_for(seconds)
    for server in fleet.servers:
        replaced = asyncio.create_task(asyncio.to_thread(_replace, server))
        while not replaced.done():
            await drive_for(1.0)
        await replaced
    await drive_for(seconds)
    return total


def _replace(server: Server) -> None:
    server.leave()
    server.start()
    server.await_ready()


def claims(compared: dict[str, Any], deployed: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The blueprint's three claims beside what was measured, as changes against the plain variant.

    Cost is CPU time a request, of the service and of everything it needs.
    """
    ratios = compared[SERVICE.name]["against_plain"]
    found = {
        "p95 at the same rate": (CLAIMED_P95, round(ratios["p95"] - 1, 3)),
        "cost of a request": (CLAIMED_COST, round(ratios["all_cpu"] - 1, 3)),
        "requests failed in a deploy": (CLAIMED_FAILED, deployed[SERVICE.name]["failed"]),
    }
    return {
        name: {"claimed": claimed, "measured": ours, "held": ours <= claimed} for name, (claimed, ours) in found.items()
    }
