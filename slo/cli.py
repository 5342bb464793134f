"""`slo generate` and `slo lint`, mounted by the `signalbox` command and usable alone (`python -m slo`).

Owns what they print and their exit codes: 0 all is well, 1 a definition or a generated file is not, 2 wrong use.
"""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from slo.durations import parse_duration
from slo.errors import DefinitionErrors, Problem
from slo.lint import lint_promises
from slo.model import FASTEST_CLOCK, Promise
from slo.parse.tree import parse_tree
from slo.publish import plan_files, write_files

DEFINITIONS = Path(__file__).resolve().parent / "definitions"

app = typer.Typer(help="Compile SLOs into rules, routes, dashboards and runbooks.", no_args_is_help=True)

Definitions = Annotated[Path, typer.Option(help="Folder of OpenSLO files.", show_default="slo/definitions")]
Out = Annotated[Path | None, typer.Option(help="Folder to write to.", show_default="this repository's own places")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.command()
def generate(
    definitions: Definitions = DEFINITIONS,
    out: Out = None,
    clock: Annotated[float, typer.Option(help="Divide all windows and waiting times by this.")] = 1.0,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit 1 if a file is stale.")] = False,
    as_json: Json = False,
) -> None:
    """Write everything that follows from the definitions."""
    if not 1 <= clock <= FASTEST_CLOCK:
        _fail(f"--clock {clock:g} is not between 1 and {FASTEST_CLOCK}", "Choose a factor such as 20", code=2)
    if clock != 1 and out is None:
        _fail("--clock would overwrite the committed rules", "Name another folder with --out", code=2)
    promises = _parse(definitions, as_json)
    try:
        planned = plan_files(promises, out, clock)
        if not check:
            write_files(planned)
    except ValueError as error:
        _fail(str(error), "Add the mark above the hand-written part, or move the file away")
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}", "Look at the folder's owner, mode and free space")
    changed = [generated for generated in planned if generated.state != "unchanged"]
    ok = not (check and changed)
    remedy = "Run `make generate`" if out is None else "Run the same without --check"
    warnings = lint_promises(promises)
    files = [{"path": _shown(generated.path), "state": generated.state} for generated in planned]
    _report(as_json, {"ok": ok, "written": not check, "files": files, "findings": _findings((), warnings)})
    if not as_json:
        for warning in warnings:
            typer.echo(f"warning: {warning}", err=True)
        for generated in changed if check else ():
            typer.echo(f"signalbox: {_shown(generated.path)} is {generated.state}. {remedy}.", err=True)
        if not check:
            typer.echo(f"{len(planned)} files, {len(changed)} of them changed, from {len(promises)} SLOs")
    raise typer.Exit(0 if ok else 1)


@app.command()
def lint(
    definitions: Definitions = DEFINITIONS,
    retention: Annotated[str, typer.Option(help="How long your Prometheus keeps samples, e.g. 15d.")] = "",
    as_json: Json = False,
) -> None:
    """Say what is wrong with the definitions, and what is allowed but probably not meant."""
    errors: tuple[Problem, ...] = ()
    warnings: list[Problem] = []
    try:
        warnings = lint_promises(parse_tree(definitions), _retention(retention))
    except DefinitionErrors as found:
        errors = found.errors
    _report(as_json, {"ok": not errors, "findings": _findings(errors, warnings)})
    if not as_json:
        for error in errors:
            typer.echo(f"error: {error}", err=True)
        for warning in warnings:
            typer.echo(f"warning: {warning}", err=True)
        typer.echo(f"{len(errors)} errors, {len(warnings)} warnings")
    raise typer.Exit(1 if errors else 0)


def _parse(definitions: Path, as_json: bool) -> tuple[Promise, ...]:
    try:
        return parse_tree(definitions)
    except DefinitionErrors as found:
        _report(as_json, {"ok": False, "written": False, "files": [], "findings": _findings(found.errors, ())})
        for error in () if as_json else found.errors:
            typer.echo(f"signalbox: {error}", err=True)
        raise typer.Exit(1) from None


def _retention(text: str) -> timedelta | None:
    try:
        return parse_duration(text) if text else None
    except ValueError as error:
        _fail(f"--retention: {error}", "Write it as Prometheus does", code=2)


def _findings(errors: Any, warnings: Any) -> list[dict[str, object]]:
    return [
        {
            "severity": severity,
            "code": problem.code,
            "file": _shown(Path(problem.at.file)),
            "line": problem.at.line,
            "column": problem.at.column,
            "field": problem.field,
            "what": problem.what,
            "remedy": problem.remedy,
        }
        for severity, problems in (("error", errors), ("warning", warnings))
        for problem in problems
    ]


def _report(as_json: bool, document: dict[str, object]) -> None:
    if as_json:
        typer.echo(json.dumps(document, indent=2, ensure_ascii=False))


def _shown(path: Path) -> str:
    """A path as short as it can be written from here."""
    relative = os.path.relpath(path)
    return relative if not relative.startswith("..") else str(path)


def _fail(what: str, remedy: str, code: int = 1) -> NoReturn:
    typer.echo(f"signalbox: {what}. {remedy}.", err=True)
    raise typer.Exit(code)
