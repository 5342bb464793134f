"""The gate before an incident: nothing is broken in a system that is not well.

Owns the questions whether every part answers, whether anything is broken already, and whether health lasts. Refuses to
break anything.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from incidents.faults import FaultError, Switch, observe_active_faults
from incidents.observe import BackendError, Backends, poll
from incidents.progress import Progress
from incidents.scenario import Scenario, window_s
from incidents.verdict import Outcome

REACH_S = 5.0
"""How long a part may fail to answer before the run is refused."""
HEARTBEAT = "max(signalbox_pager_heartbeat_age_seconds)"
"""Nothing before the first heartbeat of the Watchdog: until then the pager cannot tell that it hears nothing."""


class Unfit(Exception):
    """The system is not fit for an incident; the text says why and what to do."""


async def reach(backends: Backends, switches: Sequence[Switch]) -> None:
    """Every part that the run talks to answers, offers what is needed, and no fault is on. Raises Unfit."""

    async def look() -> str:
        try:
            await backends.query("vector(1)")
            await backends.open_pages()
            for switch in switches:
                await switch.check()
        except (BackendError, FaultError) as error:
            return str(error)
        return ""

    reached, why = await poll(look, lambda problem: not problem, deadline_s=REACH_S)
    if not reached:
        raise Unfit(f"not run: {why}")
    if active := await observe_active_faults(backends.endpoints, backends.client):
        raise Unfit(f"not run: faults are on already: {', '.join(active)}. Clear them first")


async def hold(scenario: Scenario, outcomes: Sequence[Outcome], backends: Backends, progress: Progress) -> None:
    """Wait until the system is healthy without a break for as long as the gate asks. Raises Unfit at its deadline."""
    gate = scenario.baseline
    loop = asyncio.get_running_loop()
    steady_since: float | None = None
    why = ""

    async def look() -> float:
        nonlocal steady_since, why
        why = await _unhealthy(scenario, outcomes, backends)
        if why:
            steady_since = None
            progress.now(f"waiting for a healthy baseline: {why}")
            return 0.0
        steady_since = steady_since or loop.time()
        progress.now(f"healthy for {loop.time() - steady_since:.0f} of {gate.hold_s:g} s")
        return loop.time() - steady_since

    steady, held_s = await poll(look, lambda held_s: held_s >= gate.hold_s, deadline_s=gate.deadline_s)
    if not steady:
        why = why or f"healthy for {held_s:.0f} s only, {gate.hold_s:g} s are asked for"
        raise Unfit(f"not run: the baseline is not healthy after {gate.deadline_s:g} s: {why}")


async def measure(outcomes: Sequence[Outcome], backends: Backends) -> bool:
    """Read every check once, and say whether all are true. Logs and traces count over `$window`, as rates do."""
    since = time.time() - window_s(backends.clock)
    for outcome in outcomes:
        outcome.reading = await backends.measure(outcome.check, since)
    return all(outcome.ok for outcome in outcomes)


async def _unhealthy(scenario: Scenario, outcomes: Sequence[Outcome], backends: Backends) -> str:
    """What is wrong now, empty when nothing is: an open page, a check, or a signal that would prove nothing later."""
    try:
        pages = await backends.open_pages()
        heartbeat = await backends.query(HEARTBEAT)
    except BackendError as error:
        return str(error)
    if not heartbeat:
        return "no heartbeat of the Watchdog has reached the pager yet, so that it would not miss one"
    if pages:
        return f"{', '.join(sorted({page['alert'] for page in pages}))} is firing"
    await measure(outcomes, backends)
    problems = [f"{one.check.name}: {one.reading}, wanted {one.check.wanted}" for one in outcomes if not one.ok]
    since = time.time() - window_s(backends.clock)
    for signal in scenario.signals:
        reading = await backends.measure(signal, since)
        if signal.wanted.holds(reading.value):
            problems.append(f"the signal {signal.name!r} shows already: {reading}")
    return "; ".join(problems)
