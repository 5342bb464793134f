"""``python -m bench.promises``: the long forms of the promises, as a table and as bench/results/promises.json.

Owns words, the results file and the exit code: 0 only when every promise that was measured holds.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from bench.promises import cardinality, contexts, outage, stdout
from bench.promises.collector import find_binary
from bench.promises.figures import Figure
from stack.backends.resolve import Absent

RESULTS = Path(__file__).parents[1] / "results" / "promises.json"
Measurement = tuple[str, Callable[[Path], Iterator[Figure]]]
MEASUREMENTS: dict[int, Measurement] = {
    2: (
        "the collector gone in four ways, 10 minutes (and 3)",
        lambda at: outage.measure(find_binary(), at, 600),
    ),
    4: ("stdout stalled for 60 s (and 3)", lambda at: stdout.measure(60)),
    5: ("100,000 random requests", lambda at: cardinality.measure(100_000)),
    10: ("10,000 hostile trace contexts", lambda at: contexts.measure(10_000)),
}


def main(
    promise: Annotated[list[int] | None, typer.Option(help="Only this one; may be given again. [default: all]")] = None,
    results: Annotated[Path, typer.Option(metavar="FILE", help="Where the figures are kept.")] = RESULTS,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")] = False,
) -> None:
    """Measure the promises about telemetry at their full length, and keep the figures."""
    wanted = promise or list(MEASUREMENTS)
    if unknown := [number for number in wanted if number not in MEASUREMENTS]:
        _complain(f"promise {unknown[0]} is not measured here. There are {', '.join(map(str, MEASUREMENTS))}")
        raise typer.Exit(2)
    figures: list[Figure] = []
    notes = Console(stderr=True, highlight=False)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    try:
        with Progress(*columns, console=notes, transient=True) as progress, tempfile.TemporaryDirectory() as folder:
            for number in wanted:
                what, measure = MEASUREMENTS[number]
                progress.add_task(f"promise {number}: {what}")
                for figure in measure(Path(folder)):
                    notes.print(str(figure), soft_wrap=True)
                    figures.append(figure)
    except Absent as absent:
        _complain(str(absent))
        raise typer.Exit(1) from None
    _keep(figures, results)
    if as_json:
        sys.stdout.write(results.read_text())
    else:
        Console(highlight=False).print(_table(figures))
    raise typer.Exit(0 if all(figure.held for figure in figures) else 1)


def _keep(figures: list[Figure], results: Path) -> None:
    """Replace the figures of the cases measured now; those of others stay."""
    cases = {(figure.promise, figure.case) for figure in figures}
    kept = []
    if results.exists():
        kept = [row for row in json.loads(results.read_text())["figures"] if (row["promise"], row["case"]) not in cases]
    when = datetime.now(UTC).isoformat(timespec="seconds")
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    rows = kept + [asdict(figure) | {"measured_at": when, "machine": machine} for figure in figures]
    rows.sort(key=lambda row: (row["promise"], row["case"]))
    results.parent.mkdir(parents=True, exist_ok=True)
    results.write_text(json.dumps({"figures": rows}, indent=1, ensure_ascii=False) + "\n")


def _table(figures: list[Figure]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("promise", "case", "figure", "", "promised", ""):
        table.add_column(heading, overflow="fold")
    for figure in figures:
        held = "[green]holds[/green]" if figure.held else "[red]broken[/red]"
        table.add_row(str(figure.promise), figure.case, figure.what, f"{figure.value:g}", figure.promised, held)
    return table


def _complain(text: str) -> None:
    sys.stderr.write(f"bench.promises: {text}.\n")


if __name__ == "__main__":
    typer.run(main)
