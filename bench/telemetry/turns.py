"""``python -m bench.telemetry.turns``: what the door adds to the thread of the loop, to a few microseconds.

For whoever changes the door: ``bench.telemetry`` is the whole truth, with the threads beside the loop and the stock
wiring, but two starts of one program differ by more than most changes. Here one process answers with and without the
door in turns. Needs the stack up as processes. Prints the figures; keeps none.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from bench.telemetry.__main__ import service_environment
from bench.telemetry.load import ROUTES, Failed, drive
from bench.telemetry.measure import half_width
from bench.telemetry.subjects import run_turning
from stack.backends import resolve

RATE_PER_S = 600.0
FEWEST = 5  # requests of a turn that counts


def main() -> int:
    """Measure and print. Returns 1 when a request failed or the stack is not up."""
    parser = argparse.ArgumentParser(prog="python -m bench.telemetry.turns", description=__doc__)
    parser.add_argument("--route", default="sql", choices=[route.name for route in ROUTES if route.method == "GET"])
    parser.add_argument("--seconds", type=float, default=100.0, help="how long (default 100)")
    options = parser.parse_args()
    route = replace(next(route for route in ROUTES if route.name == options.route), rate_per_s=RATE_PER_S)
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="bench-turns-") as folder:
        result = Path(folder) / "turns.json"
        try:
            with run_turning(service_environment(), resolve("collector").main, Path(folder), result) as port:
                asyncio.run(drive(port, route, route.warm_up * 5, 0, None))
                console.print(f"{options.route}: {options.seconds:.0f} s in turns")
                asyncio.run(drive(port, route, round(options.seconds * RATE_PER_S), 1, None))
        except Failed as failure:
            console.print(f"turns: {failure}", style="red")
            return 1
        bare, extra = differences(json.loads(result.read_text()))
    Console().print(
        f"{options.route}: the loop's thread takes {statistics.median(bare):.1f} µs a request without the door, "
        f"{statistics.median(extra):+.1f} ± {half_width(extra):.1f} µs with it ({len(extra)} pairs of turns)"
    )
    return 0


def differences(taken: list[tuple[str, int, int]]) -> tuple[list[float], list[float]]:
    """CPU µs a request of each pair of turns: bare, and what the door added. Turns with few requests do not count."""
    bare, extra = [], []
    for pair in zip(taken[::2], taken[1::2], strict=False):
        if min(requests for _, _, requests in pair) < FEWEST:
            continue
        cost = {mode: cpu_ns / requests / 1e3 for mode, cpu_ns, requests in pair}
        bare.append(cost["bare"])
        extra.append(cost["all"] - cost["bare"])
    return bare, extra


if __name__ == "__main__":
    sys.exit(main())
