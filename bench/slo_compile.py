"""How long the SLO compiler takes, and whether that grows with the number of SLOs and no faster.

`python -m bench.slo_compile [--sizes 100,1000,10000]`: definitions of the shipped kind, several a file, in a folder
that is thrown away. CPU time of this process (user and system), so that a busy machine changes little. Owns the
measurement only; what is compiled is what `signalbox slo generate` compiles.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from slo.compiler import compile_promises, compile_tests
from slo.emit.prometheus import emit_rules
from slo.emit.runbooks import emit_runbooks
from slo.parse.tree import parse_tree

DEFINITIONS = Path(__file__).resolve().parent.parent / "slo" / "definitions"
SLOS_A_FILE = 250  # well inside what one file may hold
RULES_LIMIT_S, ALL_LIMIT_S, LIMITS_AT = 2.0, 6.0, 1000
LINEAR = 1.3  # a step of ten may take this much more than ten times as long

T = TypeVar("T")


def measure(count: int) -> dict[str, Any]:
    """Seconds of CPU time for one number of SLOs, phase by phase, and the size of the rules."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_definitions(folder, count)
        parse_s, promises = timed(lambda: parse_tree(folder))
    rules_s, rules = timed(lambda: emit_rules(promises))
    files_s, _ = timed(lambda: compile_promises(promises))
    runbooks_s, _ = timed(lambda: [book.merged(None) for book in emit_runbooks(promises)])
    tests_s, _ = timed(lambda: compile_tests(promises))
    return {
        "slos": len(promises),
        "parse_s": parse_s,
        "rules_s": rules_s,
        "to_rules_s": parse_s + rules_s,
        "to_everything_s": parse_s + files_s + runbooks_s + tests_s,
        "of_it_promtool_tests_s": tests_s,
        "rules_bytes": len(rules.encode()),
    }


def write_definitions(folder: Path, count: int) -> None:
    """The shipped checkout promise under many names, and its service."""
    (folder / "services.yaml").write_text((DEFINITIONS / "services.yaml").read_text())
    text = (DEFINITIONS / "checkout-availability.yaml").read_text()
    for first in range(0, count, SLOS_A_FILE):
        numbers = range(first, min(count, first + SLOS_A_FILE))
        documents = (text.replace("checkout-availability", f"checkout-{number:05d}") for number in numbers)
        (folder / f"{first:05d}.yaml").write_text("---\n".join(documents))


def timed(work: Callable[[], T]) -> tuple[float, T]:
    """CPU seconds of this process, and what came out."""
    started = time.process_time()
    result = work()
    return time.process_time() - started, result


def main(
    sizes: Annotated[str, typer.Option(help="Numbers of SLOs, smallest first.")] = "100,1000,10000",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Measure, print a table with the growth from size to size, and fail if a limit is missed."""
    measure(20)  # imports, regular expressions, caches
    progress = Console(stderr=True)
    rows: list[dict[str, Any]] = []
    for size in map(int, sizes.split(",")):
        with progress.status(f"{size:,} SLOs"):
            row = measure(size)
        if rows:
            times = row["slos"] / rows[-1]["slos"]
            row["growth"] = row["to_everything_s"] / rows[-1]["to_everything_s"] / times
        rows.append(row)
    missed = [fault for row in rows for fault in faults(row)]
    if as_json:
        typer.echo(json.dumps({"ok": not missed, "missed": missed, "runs": rows}, indent=2))
    else:
        show(rows, missed)
    raise typer.Exit(1 if missed else 0)


def faults(row: dict[str, Any]) -> list[str]:
    """What of the promised speed a run misses."""
    found = []
    if row["slos"] == LIMITS_AT and row["to_rules_s"] > RULES_LIMIT_S:
        found.append(f"rules take {row['to_rules_s']:.2f} s, more than {RULES_LIMIT_S:g}")
    if row["slos"] == LIMITS_AT and row["to_everything_s"] > ALL_LIMIT_S:
        found.append(f"everything takes {row['to_everything_s']:.2f} s, more than {ALL_LIMIT_S:g}")
    if row.get("growth", 1) > LINEAR:
        found.append(f"{row['slos']:,} SLOs take {row['growth']:.2f} times their share: that is not linear")
    return found


def show(rows: list[dict[str, Any]], missed: list[str]) -> None:
    table = Table(title="CPU seconds to compile", title_justify="left")
    for column in ("SLOs", "parse", "rules", "both", "everything", "ms an SLO", "growth / size", "rules"):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(
            f"{row['slos']:,}",
            *(f"{row[key]:.2f}" for key in ("parse_s", "rules_s", "to_rules_s", "to_everything_s")),
            f"{1000 * row['to_everything_s'] / row['slos']:.2f}",
            f"{row['growth']:.2f}" if "growth" in row else "",
            f"{row['rules_bytes'] / 2**20:.1f} MiB",
        )
    Console().print(table)
    for fault in missed:
        typer.echo(f"signalbox: {fault}.", err=True)


if __name__ == "__main__":
    typer.run(main)
