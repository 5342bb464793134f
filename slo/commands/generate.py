"""`slo generate`: definitions → every file that follows from them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from slo.commands.console import (
    DEFINITIONS,
    Definitions,
    Json,
    fail,
    findings,
    print_findings,
    print_json,
    read_folder,
    shown,
)
from slo.errors import DefinitionErrors
from slo.lint.definitions import lint_promises
from slo.lint.policies import lint_policies
from slo.model import FASTEST_CLOCK
from slo.publish import plan_files, write_files

Out = Annotated[Path | None, typer.Option(help="Folder to write to.", show_default="this repository's own places")]


def generate(
    definitions: Definitions = DEFINITIONS,
    out: Out = None,
    clock: Annotated[float, typer.Option(help="Divide all windows and waiting times by this.")] = 1.0,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit 1 if a file is stale.")] = False,
    as_json: Json = False,
) -> None:
    """Write everything that follows from the definitions."""
    if not 1 <= clock <= FASTEST_CLOCK:
        fail(f"--clock {clock:g} is not between 1 and {FASTEST_CLOCK}", "Choose a factor such as 20", code=2)
    if clock != 1 and out is None:
        fail("--clock would overwrite the committed rules", "Name another folder with --out", code=2)
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
    warnings = [*lint_promises(found.promises), *lint_policies(found.scaling)]
    if as_json:
        files = [{"path": shown(generated.path), "state": generated.state} for generated in planned]
        print_json({"ok": ok, "written": not check, "files": files, "findings": findings(warnings)})
    else:
        print_findings(warnings)
        for generated in changed if check else ():
            typer.echo(f"signalbox: {shown(generated.path)} is {generated.state}. {remedy}.", err=True)
        if not check:
            counted = f"{len(found.promises)} SLOs and {len(found.scaling)} scaling policies"
            typer.echo(f"{len(planned)} files, {len(changed)} of them changed, from {counted}")
    raise typer.Exit(0 if ok else 1)
