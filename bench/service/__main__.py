"""``make bench-service``: what the service carries, and the case study against the plain variant.

Prints tables, writes ``bench/results/service.json`` and a plot beside it. Needs the stack up: PostgreSQL, its replica,
Valkey, payments and the issuer are its own; replicas and gateways are started beside it. ``--short`` takes five minutes
instead of twenty and is for trying it out; the document says so. ``--only spike`` uses the knees of the last run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.service import cases, spike
from bench.service.knee import MOST_P95_MS, Tell, find_knee
from bench.service.plot import plot
from bench.service.servers import PLAIN, SERVICE, Behind, NotUp, running

RESULTS = Path(__file__).parent.parent / "results"
PARTS = ("compare", "deploy", "knee", "spike")
REPLICAS = (1, 2, 4)


@dataclass(frozen=True)
class Length:
    """How long it all takes. ``fineness``: the factor to which a knee is known."""

    rounds: int
    seconds: float
    fineness: float


FULL, SHORT = Length(8, 5.0, 1.1), Length(2, 2.0, 1.5)


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m bench.service", description=__doc__)
    parser.add_argument("--short", action="store_true", help="two rounds of two seconds instead of eight of five")
    parser.add_argument("--only", choices=PARTS, nargs="+", default=PARTS, help="default: all")
    parser.add_argument("--no-write", action="store_true", help="print only")
    options = parser.parse_args()
    console = Console(stderr=True, highlight=False)
    path = RESULTS / "service.json"
    kept = json.loads(path.read_text()) if path.exists() else {}
    if "plain_knee" not in kept:
        kept = {}  # of a bench that asked replicas directly: not to be mixed with this one's
    try:
        behind = Behind()
        if (load := os.getloadavg()[0]) > (os.cpu_count() or 1) / 2:
            console.print(
                f"The machine has other work (load {load:.1f}): ratios hold, waits and knees are of little worth."
            )
        length = SHORT if options.short else FULL
        document = {"short_run": options.short, "machine": machine()}
        document |= measure(behind, options.only, length, kept, console.print)
    except NotUp as error:
        console.print(f"bench-service: {error}", style="red")
        return 1
    show(document, Console(highlight=False))
    if not options.no_write:
        RESULTS.mkdir(exist_ok=True)
        path.write_text(json.dumps({**kept, **document}, indent=2) + "\n")
        plot({**kept, **document}, path.with_suffix(".svg"))
    return 0


def measure(behind: Behind, wanted: list[str], length: Length, kept: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """The parts of the document that are ``wanted``; of those ``kept`` from before, the knees may be needed."""
    document: dict[str, Any] = {}
    if "compare" in wanted:
        document["compare"] = cases.compare(behind, length.rounds, length.seconds, tell)
    if "deploy" in wanted:
        document["deploy"] = cases.deploy(behind, length.seconds, tell)
    if "compare" in document and "deploy" in document:
        document["claims"] = cases.claims(document["compare"], document["deploy"])
    if "knee" in wanted or ("spike" in wanted and "plain_knee" not in kept):
        document |= knees(behind, length, tell)
    if "spike" in wanted:
        carried = [_rate(of) for of in ({**kept, **document}["knee"][0], {**kept, **document}["plain_knee"])]
        document["spike"] = spike.measure(behind, *spike.rates(*carried), length.seconds, tell)
    return document


def knees(behind: Behind, length: Length, tell: Tell) -> dict[str, Any]:
    """Of the service with so many replicas, and of the plain variant with one."""
    found = []
    for variant, replicas in (*((SERVICE, count) for count in REPLICAS), (PLAIN, 1)):
        with running(behind, variant, replicas) as fleet:
            tell(f"knee of {replicas} × {variant.name}")
            found.append(find_knee(fleet, behind, length.seconds, length.fineness, tell))
    return {"most_p95_ms": MOST_P95_MS, "knee": found[:-1], "plain_knee": found[-1]}


def _rate(knee: dict[str, Any]) -> float:
    """What is carried; where nothing was, the least that was tried."""
    return float((knee["carried"] or knee["points"][0])["rate_per_s"])


def machine() -> dict[str, Any]:
    """What it ran on, and how busy that was with other things."""
    return {"cores": os.cpu_count(), "python": platform.python_version(), "load_before": round(os.getloadavg()[0], 1)}


def show(document: dict[str, Any], console: Console) -> None:
    """The figures as a person reads them."""
    if compared := document.get("compare"):
        table = Table("variant", "p95", "CPU s / 1000", "with what is around", "p95", "CPU", "all CPU", "failed")
        for name, of in compared.items():
            ratio = of["against_plain"]
            table.add_row(
                name,
                f"{of['p95_ms']:.0f} ms",
                f"{of['server_cpu_s_per_1000']:.2f}",
                f"{of['all_cpu_s_per_1000']:.2f}",
                *(f"x {ratio[key]:.2f}" for key in ("p95", "server_cpu", "all_cpu")),
                f"{of['failed']} of {of['sent']}",
            )
        console.print(table)
    for name, of in document.get("claims", {}).items():
        verdict = "held" if of["held"] else "NOT held"
        console.print(f"claimed {_change(of['claimed'])}, measured {_change(of['measured'])} ({verdict}): {name}")
    for variant, of in document.get("deploy", {}).items():
        console.print(f"deploy of {variant}: {of['failed']} of {of['sent']} requests failed")
    for of in (*document.get("knee", ()), *filter(None, [document.get("plain_knee")])):
        carried = f"{of['carried']['rate_per_s']:.0f}/s" if of["carried"] else "not even the least rate"
        console.print(
            f"{of['replicas']} replicas carry {carried}, {of['requests_per_core_s']} requests a second and core of all"
            f" parts; beyond it {of['beyond']['why'] if of['beyond'] else 'nothing was tried'}; full"
            f" first: {of['saturates_first']}"
        )
    if spiked := document.get("spike"):
        console.print(f"spike from {spiked['usual_per_s']:.0f}/s to {spiked['peak_per_s']:.0f}/s and back")
        for variant, of in spiked["variants"].items():
            legs = ", ".join(
                f"{leg} p95 {of[leg]['p95_ms']:.0f} ms, {of[leg]['failed']} of {of[leg]['sent']} failed"
                for leg in ("before", "spike", "after")
            )
            over = of["recovered_after_s"]
            console.print(f"  {variant}: {legs}; {'not over at the end' if over is None else f'over after {over:g} s'}")


def _change(figure: float) -> str:
    return f"{figure:+.0%}" if isinstance(figure, float) else str(figure)


if __name__ == "__main__":
    sys.exit(main())
