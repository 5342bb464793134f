"""``make prove-scaling``: autoscaling proved on a real control plane, scenario by scenario.

Builds the control plane the first time (a quarter of an hour of two cores), brings the stack up beside it, prints each
claim and what was seen, and writes ``bench/results/scaling.json`` with a plot. Exit code 0 only when every claim held.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from bench.scaling.ground import ground
from bench.scaling.record import Record
from bench.scaling.scenarios import SCENARIOS, SHORT, Claim, Result
from stack.backends import Cancelled, Progress
from stack.controlplane import programs
from stack.errors import StackError
from stack.layout import Layout

RESULTS = Path(__file__).parent.parent / "results"
CLOCK = 6.0  # a minute is 10 s: what Kubernetes counts in whole seconds stays whole
QUIET_LIMIT_S = 15.0
INTERRUPTED = 130


def main() -> int:
    """Prove, print, write."""
    parser = argparse.ArgumentParser(prog="python -m bench.scaling", description=__doc__)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"any of: {', '.join(SCENARIOS)}")
    parser.add_argument("--clock", type=float, default=CLOCK, help="divide all times by this [default: %(default)g]")
    parser.add_argument(
        "--hpa", action="store_true", help="the plain HPA's form instead of KEDA's, which is not built then"
    )
    parser.add_argument("--short", action="store_true", help="a spike without the hour around it, and no cost")
    parser.add_argument("--no-write", action="store_true", help="print only")
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    options = parser.parse_args()
    if unknown := [name for name in options.scenarios if name not in SCENARIOS]:
        parser.error(f"no such scenario: {', '.join(unknown)}")
    if not 1 <= options.clock <= 10:
        parser.error("--clock is a factor from 1 to 10: Kubernetes counts in whole seconds")
    console = Console(stderr=True, highlight=False)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whoever ends us is treated as Ctrl-C
    try:
        found = obtain(not options.hpa, console)
        document = asyncio.run(
            prove(options.scenarios or list(SCENARIOS), found, options.clock, options.short, console)
        )
    except StackError as error:
        console.print(Text(f"prove-scaling: {error}"), style="red", soft_wrap=True)
        return 1
    except (KeyboardInterrupt, Cancelled):
        console.print("prove-scaling: interrupted; what was started is ended")
        return INTERRUPTED
    held = all(scenario["held"] for scenario in document["scenarios"].values())
    if options.json:
        print(json.dumps(document, indent=2))  # noqa: T201
    if not options.no_write:
        write(document, console)
    return 0 if held else 1


def obtain(keda: bool, console: Console) -> programs.Programs:
    """The control plane's programs, with what is going on told on the console."""
    cancel, told = threading.Event(), [("", "", 0.0)]

    def show(now: Progress) -> None:
        name, stage, at_s = told[0]
        if (name, stage) != (now.name, now.stage) or now.elapsed_s - at_s >= QUIET_LIMIT_S:
            told[0] = (now.name, now.stage, now.elapsed_s)
            share = f" {now.done / now.total:.0%}" if now.total else ""
            console.print(Text(f"{now.name}: {now.message}{share} ({now.elapsed_s:.0f} s)"), soft_wrap=True)

    before = signal.signal(signal.SIGINT, lambda *_: cancel.set())
    try:
        return programs.obtain(keda, show, cancel)
    finally:
        signal.signal(signal.SIGINT, before)


async def prove(
    names: Sequence[str], found: programs.Programs, clock: float, short: bool, console: Console
) -> dict[str, Any]:
    """The document of the scenarios of these names."""
    began = time.monotonic()

    def tell(what: str) -> None:
        console.print(Text(f"{time.monotonic() - began:5.0f} s  {what}"), soft_wrap=True)

    load_before = round(os.getloadavg()[0], 1)
    scenarios: dict[str, Any] = {}
    async with ground(Layout.from_environment(), found, clock, tell) as made:
        for name in names:
            brief = (SHORT,) if short and name == "spike" else ()
            try:
                result: Result = await SCENARIOS[name](made, tell, *brief)
            except StackError as error:
                result = Result(name, Record(), [Claim("it runs to its end", False, str(error))])
            show(result, console)
            scenarios[name] = told(result)
        made.plane.check()
        return {
            "clock": clock,
            "short_run": short,
            "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "load_before": load_before},
            "control_plane": {name: programs.pins()[name].version for name in programs.needed(made.plane.has_keda)},
            "minimum": made.policy.minimum,
            "maximum": made.policy.maximum,
            "autoscaler": made.autoscaler.text,
            "scenarios": scenarios,
        }


def show(result: Result, console: Console) -> None:
    """The claims as a person reads them."""
    for claim in result.claims:
        verdict = Text("held    ", style="green") if claim.held else Text("NOT held", style="red")
        console.print(Text.assemble(verdict, f"  {result.name}: {claim.claim}: {claim.seen}"), soft_wrap=True)


def told(result: Result) -> dict[str, Any]:
    """A result as JSON."""
    claims = [{"claim": each.claim, "held": each.held, "seen": each.seen} for each in result.claims]
    return {"held": result.held, "claims": claims, **result.figures, "samples": result.record.document()}


def write(document: dict[str, Any], console: Console) -> None:
    """Results and plot; scenarios that were not run this time stay as they were, at the same clock."""
    path = RESULTS / ("scaling.json" if "keda" in document["control_plane"] else "scaling-hpa.json")
    kept = json.loads(path.read_text()) if path.exists() else {}
    if kept.get("clock") == document["clock"]:
        document = {**document, "scenarios": {**kept["scenarios"], **document["scenarios"]}}
    path.write_text(json.dumps(document, separators=(",", ":")).replace('{"at_s"', '\n{"at_s"') + "\n")
    console.print(f"written: {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")
    try:
        from bench.scaling.plot import plot

        plot(document, path.with_suffix(".svg"))
    except ImportError:
        console.print("no plot: matplotlib is not there (make prove-scaling installs it)")


if __name__ == "__main__":
    sys.exit(main())
