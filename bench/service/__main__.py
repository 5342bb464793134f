"""``make bench-service``: what the service carries, and the case study against the plain variant.

Prints tables, writes ``bench/results/service.json`` and a plot beside it. Needs the stack up: PostgreSQL, its replica,
Valkey and payments are its own. ``--short`` takes a few minutes and is for trying it out; the document says so.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.service import cases
from bench.service.servers import Behind, NotUp

RESULTS = Path(__file__).parent.parent / "results"


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m bench.service", description=__doc__)
    parser.add_argument("--short", action="store_true", help="two rounds of two seconds instead of eight of five")
    parser.add_argument("--only", choices=("knee", "compare", "deploy", "spike"), nargs="+", help="default: all")
    parser.add_argument("--no-write", action="store_true", help="print only")
    options = parser.parse_args()
    console = Console(stderr=True, highlight=False)
    rounds, seconds = (2, 2.0) if options.short else (8, 5.0)
    wanted = options.only or ("knee", "compare", "deploy", "spike")
    try:
        behind = Behind()
        if (load := os.getloadavg()[0]) > (os.cpu_count() or 1) / 2:
            console.print(
                f"The machine has other work (load {load:.1f}): ratios hold, waits and knees are of little worth."
            )
        document: dict[str, Any] = {"short_run": options.short, "machine": machine()}
        if "compare" in wanted:
            document["compare"] = cases.compare(behind, rounds, seconds, console.print)
        if "deploy" in wanted:
            document["deploy"] = cases.deploy(behind, seconds, console.print)
        if "compare" in document and "deploy" in document:
            document["claims"] = cases.claims(document["compare"], document["deploy"])
        if "spike" in wanted:
            document["spike"] = cases.spike(behind, seconds, console.print)
        if "knee" in wanted:
            document["knee"] = cases.knee(behind, seconds, console.print)
    except NotUp as error:
        console.print(f"bench-service: {error}", style="red")
        return 1
    show(document, Console(highlight=False))
    if not options.no_write:
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / "service.json"
        kept = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps({**kept, **document}, indent=2) + "\n")
        if "compare" in document:
            plot(document["compare"], path.with_suffix(".svg"))
    return 0


def machine() -> dict[str, Any]:
    """What it ran on, and how busy that was with other things."""
    return {"cores": os.cpu_count(), "python": platform.python_version(), "load_before": round(os.getloadavg()[0], 1)}


def show(document: dict[str, Any], console: Console) -> None:
    """The figures as a person reads them."""
    if compared := document.get("compare"):
        table = Table("variant", "p95", "CPU s / 1000", "with what is behind", "p95", "CPU", "all CPU", "failed")
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
    for variant, phases in document.get("spike", {}).items():
        said = ", ".join(f"{phase} p95 {of['p95_ms']:.0f} ms, {of['failed']} failed" for phase, of in phases.items())
        console.print(f"spike on {variant}: {said}")
    for of in document.get("knee", ()):
        carried = f"{of['carried']['rate_per_s']:.0f}/s" if of["carried"] else "not even the first rate"
        console.print(
            f"{of['replicas']} replicas carry {carried}, {of['requests_per_core_s']} requests a second and core of all"
            f" parts; beyond it {of['beyond']['why'] if of['beyond'] else 'nothing was tried'}; fullest:"
            f" {of['saturates_first']}"
        )


def _change(figure: float) -> str:
    return f"{figure:+.0%}" if isinstance(figure, float) else str(figure)


def plot(compared: dict[str, Any], path: Path) -> None:
    """Bars a variant: CPU time and p95, as shares of the plain one's."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "signalbox"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 4), layout="constrained")
    names = list(compared)
    for offset, key, label in ((-0.2, "all_cpu", "CPU time of everything"), (0.2, "p95", "p95 at the same rate")):
        shares = [compared[name]["against_plain"][key] for name in names]
        axes.bar([place + offset for place in range(len(names))], shares, 0.36, label=label)
    axes.axhline(1, color="#888", linewidth=0.8)
    axes.set_xticks(range(len(names)), [name.replace(" + ", "\n+ ") for name in names])
    axes.set_ylabel("share of the plain variant's")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    sys.exit(main())
