"""``make bench-telemetry``: what telemetry costs, as a table, ``bench/results/telemetry.json`` and a plot beside it.

Needs the stack up (PostgreSQL, Valkey and payments are its own). Other work on the machine widens the intervals; the
differences are taken within a round, so it does not shift them much. Two starts of one program differ by several
microseconds a request (where its memory lies), so every mode is started several times.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from bench.telemetry.load import ROUTES, Failed
from bench.telemetry.measure import Figures, measure, spans_of_one, summarize, warm_up
from bench.telemetry.subject import MODES
from bench.telemetry.subjects import run_subjects
from incidents.identity import fetch_token
from stack.backends import resolve

RESULTS = Path(__file__).parent.parent / "results"
EXTRA = ("default", "all", "stock")


def main() -> int:
    """Measure, print, write. Returns 1 when a mode lost something or the stack is not up."""
    parser = argparse.ArgumentParser(prog="python -m bench.telemetry", description=__doc__)
    parser.add_argument("--starts", type=int, default=8, help="how often every process is started (default 8)")
    parser.add_argument(
        "--pairs", type=int, default=4, help="rounds a route and start (default 4, in which every order comes once)"
    )
    parser.add_argument("--seconds", type=float, default=3.0, help="load of a mode and round (default 3)")
    parser.add_argument("--routes", nargs="+", choices=[route.name for route in ROUTES], help="default: all")
    parser.add_argument("--no-write", action="store_true", help="print only")
    options = parser.parse_args()
    console = Console(stderr=True)
    routes = [route for route in ROUTES if not options.routes or route.name in options.routes]
    taken: dict[str, dict[str, list[float]]] = {route.name: {mode: [] for mode in MODES} for route in routes}
    spans: dict[str, dict[str, int]] = {}
    try:
        environment = service_environment()
        token = asyncio.run(fetch_token(environment.get("SIGNALBOX_ISSUER_URL", "")))
        for start in range(options.starts):
            with (
                tempfile.TemporaryDirectory(prefix="bench-telemetry-") as folder,
                run_subjects(environment, resolve("collector").main, Path(folder), token, start) as subjects,
            ):
                for route in routes:
                    console.print(f"start {start + 1} of {options.starts}: {route.name}")
                    for subject in subjects.values():
                        warm_up(route, subject)
                    if route.name not in spans:
                        spans[route.name] = {mode: spans_of_one(route, subjects[mode]) for mode in MODES}
                    requests = max(1, round(route.rate_per_s * options.seconds))
                    seed = start * options.pairs
                    found = measure(route, subjects, spans[route.name], options.pairs, requests, seed)
                    for mode, values in found.items():
                        taken[route.name][mode] += values
    except Failed as failure:
        console.print(f"bench-telemetry: {failure}", style="red")
        return 1
    figures = {name: summarize(values) for name, values in taken.items()}
    Console().print(build_table(figures))
    if not options.no_write:
        write(figures)
    return 0


def service_environment() -> dict[str, str]:
    """What api-1 of the running stack was started with. Exits with a remedy when there is none."""
    status = subprocess.run([sys.executable, "-m", "stack", "status", "--json"], capture_output=True, check=False)
    parts = json.loads(status.stdout)["components"] if status.stdout.startswith(b"{") else []
    pid = next((part["pid"] for part in parts if part["name"] == "api-1"), None)
    if pid is None or any(part["source"] in ("image", "stand-in") for part in parts):
        raise SystemExit("bench-telemetry: the stack is not up as processes. Run `make up FORM=native` first")
    # Without a replica: who watches one asks it twice a second, and the stock wiring makes spans of that.
    return {**psutil.Process(pid).environ(), "PYTHONPATH": os.getcwd(), "SIGNALBOX_REPLICA_URLS": ""}


def build_table(figures: dict[str, Figures]) -> Table:
    """The figures as a person reads them."""
    table = Table(title="CPU time a request, µs (median of pairs ± 95 %)")
    for column in ("route", "bare", "default", "all spans", "stock"):
        table.add_column(column, justify="left" if column == "route" else "right")
    for name, of in figures.items():
        extra = (
            f"+{of.extra_us[mode]:.1f} ± {of.ci95_us[mode]:.1f} ({of.extra_us[mode] / of.bare_us:.1%})"
            for mode in EXTRA
        )
        table.add_row(name, f"{of.bare_us:.1f}", *extra)
    return table


def write(figures: dict[str, Figures]) -> None:
    """The JSON document and the plot. A route that was not measured keeps what stood there."""
    path = RESULTS / "telemetry.json"
    RESULTS.mkdir(exist_ok=True)
    document: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"routes": {}}
    for name, of in figures.items():
        document["routes"][name] = {
            "bare_us": round(of.bare_us, 2),
            **{f"{mode}_extra_us": round(of.extra_us[mode], 2) for mode in EXTRA},
            "pairs": of.pairs,
            "ci95_us": {mode: round(of.ci95_us[mode], 2) for mode in EXTRA},
        }
    document["machine"] = {"cores": os.cpu_count(), "python": platform.python_version(), "load": os.getloadavg()[0]}
    path.write_text(json.dumps(document, indent=2) + "\n")
    plot(document["routes"], path.with_suffix(".svg"))


def plot(routes: dict[str, Any], path: Path) -> None:
    """Bars a route: the bare service, and what ours and the stock wiring add to it."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "signalbox"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4), layout="constrained")
    names = list(routes)
    for offset, mode, label in ((-0.2, "all", "every span exported by the door"), (0.2, "stock", "stock wiring")):
        at = [place + offset for place in range(len(names))]
        bare = [routes[name]["bare_us"] for name in names]
        extra = [routes[name][f"{mode}_extra_us"] for name in names]
        error = [routes[name]["ci95_us"][mode] for name in names]
        axes.bar(at, bare, 0.36, color="#c8ccd0", label="the bare service" if mode == "all" else None)
        axes.bar(at, extra, 0.36, bottom=bare, yerr=error, capsize=3, label=label)
    axes.set_xticks(range(len(names)), names)
    axes.set_ylabel("CPU µs a request")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    sys.exit(main())
