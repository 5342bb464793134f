"""A spike that hurts: from the usual rate to the service's knee and back, in one run; how it is during and afterwards.

Owns how high the spike is, the seconds of its timeline, and when it counts as over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from bench.service.knee import MOST_P95_MS, Tell, measured
from bench.service.load import Outcome, drive
from bench.service.servers import PLAIN, SERVICE, Behind, running

AT_LEAST = 10  # times the usual rate
COMFORT = 0.8  # of its knee is what the plain variant may have as its usual rate


def rates(service_knee: float, plain_knee: float) -> tuple[float, float]:
    """Usual and highest rate: the latter is all that the service carries, the former what both carry."""
    return min(service_knee / AT_LEAST, COMFORT * plain_knee), service_knee


def measure(behind: Behind, usual: float, peak: float, seconds: float, tell: Tell) -> dict[str, Any]:
    """Both variants, one replica each, through the same spike."""
    lengths = (2 * seconds, 3 * seconds, 5 * seconds)
    legs = list(zip((usual, peak, usual), lengths, strict=True))
    found: dict[str, Any] = {"usual_per_s": round(usual, 1), "peak_per_s": round(peak, 1), "legs_s": lengths}
    found["variants"] = {}
    for variant in (PLAIN, SERVICE):
        with running(behind, variant) as fleet:
            asyncio.run(drive(fleet.url, behind.people, 1, (usual, seconds)))  # pools and caches are filled
            outcome = asyncio.run(drive(fleet.url, behind.people, 7, *legs))
        found["variants"][variant.name] = of = judge(outcome, legs)
        tell(f"spike, {variant.name}: p95 {of['spike']['p95_ms']:.0f} ms, over after {of['recovered_after_s']} s")
    return found


def judge(outcome: Outcome, legs: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Figures of the three legs (before, spike, after), second by second, and how long the spike was felt after it.

    ``recovered_after_s`` is None when it still was at the end.
    """
    begin, phases = 0.0, {}
    for name, (rate, seconds) in zip(("before", "spike", "after"), legs, strict=True):
        phases[name] = measured(rate, outcome.due_between(begin, begin + seconds), {})
        begin += seconds
    ended = legs[0][1] + legs[1][1]
    most_ms = max(MOST_P95_MS, 2 * phases["before"]["p95_ms"])
    seconds = [_second(outcome, number) for number in range(int(begin))]
    troubled = [at["second"] + 1 for at in seconds if at["failed"] or at["p95_ms"] > most_ms]
    last = max((at for at in troubled if at > ended), default=ended)
    recovered = None if last >= int(begin) else round(last - ended, 1)
    return {**phases, "most_ms": round(most_ms, 1), "recovered_after_s": recovered, "seconds": seconds}


def _second(outcome: Outcome, number: int) -> dict[str, Any]:
    within = outcome.due_between(number, number + 1)
    p95_ms = round(within.quantile_ms(0.95), 1)
    return {"second": number, "sent": within.sent, "p95_ms": p95_ms, "failed": within.failed.total()}
