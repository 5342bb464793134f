"""`slo generate`: definitions → every file that follows from them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from slo.commands.console import (
    DEFINITIONS,
    Definitions,
    Json,
    Retention,
    Series,
    fail,
    findings,
    print_findings,
    print_json,
    read_duration,
    read_folder,
    shown,
)
from slo.cost import DEFAULT_SERIES, cost_of
from slo.errors import DefinitionErrors
from slo.lint.definitions import lint_promises
from slo.lint.policies import lint_policies
from slo.model import FASTEST_CLOCK
from slo.plan import say_cost
from slo.publish import plan_files, write_files

Out = Annotated[Path | None, typer.Option(help="Folder to write to.", show_default="this repository's own places")]


def generate(
    definitions: Definitions = DEFINITIONS,
    out: Out = None,
    clock: Annotated[float, typer.Option(help="Divide all windows and waiting times by this.")] = 1.0,
    retention: Retention = "",
    series: Series = DEFAULT_SERIES,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit 1 if a file is stale.")] = False,
    as_json: Json = False,
) -> None:
    """Write everything that follows from the definitions."""
    if not 1 <= clock <= FASTEST_CLOCK:
        fail(f"--clock {clock:g} is not between 1 and {FASTEST_CLOCK}", "Choose a factor such as 20", code=2)
    if clock != 1 and out is None:
        fail("--clock would overwrite the committed rules", "Name another folder with --out", code=2)
    kept = read_duration("--retention", retention) if retention else None
    found = read_folder(definitions, as_json, written=False, files=[])
    try:
        planned = plan_files(found, out, clock)
        if not check:
            write_files(planned)
    except DefinitionErrors as errors:  # of the designed dashboards, which ask for some SLOs by name
        print_findings(errors.errors)
        fail("this repository's dashboards do not fit these definitions", "Name a folder of their own with --out")
    except ValueError as error:
        fail(str(error), "Add the mark above the hand-written part, or move the file away")
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}", "Look at the folder's owner, mode and free space")
    changed = [generated for generated in planned if generated.state != "unchanged"]
    ok = not (check and changed)
    remedy = "Run `make generate`" if out is None else "Run the same without --check"
    warnings = [*lint_promises(found.promises, kept), *lint_policies(found.scaling), *found.unused]
    cost = cost_of(found.promises, series)
    if as_json:
        files = [{"path": shown(generated.path), "state": generated.state} for generated in planned]
        told = {"series_per_counter": series, **asdict(cost)}
        print_json({"ok": ok, "written": not check, "files": files, "cost": told, "findings": findings(warnings)})
    else:
        print_findings(warnings)
        for generated in changed if check else ():
            typer.echo(f"signalbox: {shown(generated.path)} is {generated.state}. {remedy}.", err=True)
        if not check:
            counted = f"{len(found.promises)} SLOs and {len(found.scaling)} scaling policies"
            typer.echo(f"{len(planned)} files, {len(changed)} of them changed, from {counted}")
            longest = max((promise.windows.period for promise in found.promises), key=lambda period: period.length)
            typer.echo(
                f"With {series} raw series behind each counter: {say_cost(cost, cost)}. Budgets look back "
                f"{longest.name}: keep samples that long (--storage.tsdb.retention.time; Prometheus' own is 15d)"
            )
    raise typer.Exit(0 if ok else 1)
