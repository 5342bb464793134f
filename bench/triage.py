"""``python -m bench.triage``: what triage says of trouble that no incident of the catalogue makes.

The rules of triage are to be general. Here processes are killed and stopped, routes made slow, versions deployed and
two things broken at once, one case after another on the running stack, under a load of ordinary people; triage is asked
after 25 s, as somebody would who knows when it began. Each case names the causes that would be right, triage is never
told them. Writes ``bench/results/triage.json``. Exit code 1: a right cause was not among the first three.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.keep import keep
from incidents import drive
from incidents.endpoints import EndpointError, Endpoints
from incidents.load import Load
from incidents.observe import Backends
from incidents.triage.score import observe_triage
from stack import faults, form
from stack.errors import StackError
from stack.layout import Layout
from stack.state import StackState

LEAST_CLOCK = 10.0
"""At a slower one the windows are longer than a case."""
MIX = {"browse_products": 3.0, "read_product": 3.0, "read_user": 1.0, "create_order": 2.0}
RATE_PER_S = 8.0
CALM_S, BROKEN_S, REST_S = 25.0, 25.0, 20.0


@dataclass(frozen=True)
class Broken:
    """One fault of one service."""

    fault: str
    service: str
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """What is broken, and which causes are right: one is enough of those that a single fault may show as, and all are
    wanted where several things are broken. None means that nothing should show.
    """

    name: str
    broken: tuple[Broken, ...]
    right: frozenset[str]

    def place(self, said: Sequence[str]) -> int | None:
        """Where it is right, from 1, which is the top for as many causes as there are; None where it is not."""
        if not self.right:
            return None if said else 1
        places = [place for place, cause in enumerate(said, 1) if cause in self.right]
        if len(self.broken) == 1:
            return places[0] if places else None
        return places[-1] - len(self.broken) + 1 if len(places) == len(self.right) else None


def case(name: str, right: Sequence[str], *broken: Broken) -> Case:
    """A case."""
    return Case(name, broken, frozenset(right))


def killed(component: str) -> Broken:
    """A component that is killed whenever it is back."""
    return Broken("kill-process", "faults", {"component": component})


def stopped(component: str) -> Broken:
    """A component that stands still."""
    return Broken("stop-process", "faults", {"component": component})


CASES = (
    case("database-away", ["postgres down"], killed("postgres")),
    # Who has a connection keeps it: only new ones wait.
    case("postmaster-stopped", [], stopped("postgres")),
    case("replica-away", ["postgres-replica down"], killed("postgres-replica")),
    case("payments-away", ["payments down"], killed("payments")),
    case("payments-stopped", ["payments down", "payments latency"], stopped("payments")),
    case("worker-away", ["worker down"], killed("worker")),
    case("worker-stopped", ["worker down"], stopped("worker")),
    case("worker-fails", ["worker errors"], Broken("job-errors", "worker", {"percent": 100})),
    case("valkey-stopped", ["valkey down", "valkey latency"], stopped("valkey")),
    case("replica-of-api-stopped", ["api down"], stopped("api-1")),
    case(
        "slow-version",
        ["api bad-deploy"],
        Broken(
            "deploy",
            "faults",
            {"component": "api-1", "version": "9.8.0", "defect": "response-latency", "percent": 80},
        ),
    ),
    case(
        "one-route-fails",
        ["api errors"],
        Broken("response-errors", "api", {"route": "/v1/users/{user_id}", "percent": 70}),
    ),
    case(
        "one-route-slow",
        ["api latency"],
        Broken("response-latency", "api", {"route": "/v1/products", "ms": 1500, "percent": 60}),
    ),
    case("some-charges-fail", ["payments errors"], Broken("charge-errors", "payments", {"percent": 20, "status": 503})),
    case("slow-wire", ["payments latency"], Broken("payments-network", "faults", {"latency_ms": 800})),
    case("issuer-away", ["issuer down"], killed("issuer")),
    case("gateway-away", ["gateway down"], killed("gateway")),
    case("users-locked", ["postgres lock-wait"], Broken("hold-lock", "faults", {"table": "users", "mode": "rows"})),
    case(
        "two-at-once",
        ["payments errors", "postgres-replica replay-lag"],
        Broken("charge-errors", "payments", {"percent": 40, "status": 500}),
        Broken("pause-replay", "faults"),
    ),
)


@dataclass(frozen=True)
class Finding:
    """What triage said of a case. ``place``: where it was right, from 1; 1 too where nothing should be said."""

    name: str
    right: list[str]
    said: list[str]
    place: int | None


def main() -> int:
    """Break, ask, print, keep."""
    parser = argparse.ArgumentParser(prog="python -m bench.triage", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="CASE", help=f"default: all of {', '.join(c.name for c in CASES)}")
    parser.add_argument("--first", type=int, metavar="N", help="only the first N")
    options = parser.parse_args()
    if unknown := set(options.names) - {case.name for case in CASES}:
        parser.error(f"there is no case {', '.join(sorted(unknown))}")
    chosen = [case for case in CASES if not options.names or case.name in options.names][: options.first]
    layout = Layout.from_environment()
    state = form.find(layout).current_state(layout)
    if state is None or state.clock < LEAST_CLOCK:
        sys.stderr.write("bench-triage: the stack is not up, or its clock is slow. Run `make up CLOCK=20` first\n")
        return 1
    try:
        found = asyncio.run(try_all(chosen, state))
    except (KeyboardInterrupt, StackError, EndpointError) as problem:
        sys.stderr.write(f"bench-triage: {str(problem) or 'interrupted; the faults are cleared'}\n")
        return 1
    Console().print(table(found))
    if len(chosen) == len(CASES):
        first = sum(one.place == 1 for one in found)
        keep("triage", {"cases": [asdict(one) for one in found], "first": first, "of": len(found)})
    return 0 if all(one.place is not None and one.place <= 3 for one in found) else 1


async def try_all(cases: Sequence[Case], state: StackState) -> list[Finding]:
    """One case after the other; whatever happens, nothing stays broken."""
    found = []
    async with Backends(Endpoints.parse(dict(state.urls)), state.clock) as backends:
        for number, one in enumerate(cases, 1):
            sys.stderr.write(f"{number} of {len(cases)}: {one.name}\n")
            found.append(await try_case(one, state, backends, number))
            sys.stderr.write(f"    {', '.join(found[-1].said[:3]) or 'nothing unusual'}\n")
            await asyncio.sleep(REST_S)
    return found


async def try_case(one: Case, state: StackState, backends: Backends, seed: int) -> Finding:
    """Load, calm, trouble, question, and back."""
    longest_s = CALM_S + BROKEN_S + 120.0
    urls = state.urls
    load = Load(drive.Job(urls["gateway"], MIX, (drive.Step(RATE_PER_S),), seed, longest_s, urls.get("issuer") or ""))
    await load.start()
    since = time.time()
    try:
        await asyncio.sleep(CALM_S)
        onset = time.time()
        for broken in one.broken:
            processes = faults.faulty(state, broken.service)
            answers = await asyncio.to_thread(faults.set_fault, processes, broken.fault, broken.parameters)
            for problem in answers.problems.values():
                raise problem
        await asyncio.sleep(BROKEN_S)
        document = await observe_triage(backends, None, onset_at=onset, load_since=since)
    finally:
        answers = await asyncio.to_thread(faults.clear_faults, faults.faulty(state))
        for problem in answers.problems.values():
            sys.stderr.write(f"    {problem}\n")
        await load.stop()
    said = document["said"]
    return Finding(one.name, sorted(one.right), said, one.place(said))


def table(found: Sequence[Finding]) -> Table:
    """The findings as a person reads them."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("case", "right", "said", "place"):
        made.add_column(heading, overflow="fold")
    for one in found:
        colour = "green" if one.place == 1 else "yellow" if one.place else "red"
        made.add_row(
            one.name,
            ", ".join(one.right) or "nothing",
            ", ".join(one.said[:3]) or "nothing unusual",
            f"[{colour}]{one.place or 'no'}[/{colour}]",
        )
    return made


if __name__ == "__main__":
    sys.exit(main())
