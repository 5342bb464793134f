"""`slo lint`: what is wrong with the definitions, and what is allowed but probably not meant."""

from __future__ import annotations

from typing import Annotated

import typer

from slo.commands.console import DEFINITIONS, Definitions, Json, findings, print_json, read_duration
from slo.errors import DefinitionErrors, Problem
from slo.lint import lint_promises
from slo.parse.tree import parse_tree


def lint(
    definitions: Definitions = DEFINITIONS,
    retention: Annotated[str, typer.Option(help="How long your Prometheus keeps samples, e.g. 15d.")] = "",
    as_json: Json = False,
) -> None:
    """Say what is wrong with the definitions, and what is allowed but probably not meant."""
    kept = read_duration("--retention", retention) if retention else None
    errors: tuple[Problem, ...] = ()
    warnings: list[Problem] = []
    try:
        warnings = lint_promises(parse_tree(definitions), kept)
    except DefinitionErrors as found:
        errors = found.errors
    if as_json:
        print_json({"ok": not errors, "findings": findings(error=errors, warning=warnings)})
    else:
        for error in errors:
            typer.echo(f"error: {error}", err=True)
        for warning in warnings:
            typer.echo(f"warning: {warning}", err=True)
        typer.echo(f"{len(errors)} errors, {len(warnings)} warnings")
    raise typer.Exit(1 if errors else 0)
