"""What all commands share: their common options, how they print, how they fail.

Owns the conventions: results on standard output, everything else on standard error, `--json` gives one document and
nothing else, exit 0 only when all is well, 1 when something is not, 2 for wrong use.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from slo.durations import parse_duration
from slo.errors import DefinitionErrors, Problem
from slo.lint.catalogue import by_urgency
from slo.model import Promise
from slo.parse.tree import Definitions as Folder
from slo.parse.tree import parse_definitions

DEFINITIONS = Path(__file__).resolve().parent.parent / "definitions"

Definitions = Annotated[Path, typer.Option(help="Folder of OpenSLO files.", show_default="slo/definitions")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Retention = Annotated[str, typer.Option(metavar="TIME", help="How long your Prometheus keeps samples, e.g. 15d.")]
Series = Annotated[int, typer.Option(min=1, help="Raw series behind each counter, for the cost.")]

T = TypeVar("T")


def read_promises(definitions: Path, as_json: bool, **document: object) -> tuple[Promise, ...]:
    """The promises of a folder; when it has errors, as `read_folder`."""
    return read_folder(definitions, as_json, **document).promises


def read_folder(definitions: Path, as_json: bool, **document: object) -> Folder:
    """All that a folder says. When it has errors, print all of them (inside `document`, for `--json`) and exit 1."""
    try:
        return parse_definitions(definitions)
    except DefinitionErrors as found:
        if as_json:
            print_json({"ok": False, **document, "findings": findings(found.errors)})
        else:
            print_findings(found.errors)
        raise typer.Exit(1) from None


def one_promise(promises: Iterable[Promise], name: str) -> Promise:
    """The promise of that name; exit 2 with the names there are."""
    named = {promise.name: promise for promise in promises}
    if name not in named:
        fail(f"there is no SLO {name!r}", f"There are {', '.join(sorted(named))}", code=2)
    return named[name]


def read_duration(option: str, text: str) -> timedelta:
    """The length of time that an option gives; exit 2 when it is none."""
    try:
        return parse_duration(text)
    except ValueError as error:
        fail(f"{option}: {error}", "Write it as Prometheus does", code=2)


def read_value(option: str, text: str, parse: Callable[[str], T]) -> T:
    """An option through a parser whose ValueError says what is wrong; exit 2 then."""
    try:
        return parse(text)
    except ValueError as error:
        what, _, remedy = str(error).partition("; ")
        fail(f"{option}: {what}", f"{remedy[:1].upper()}{remedy[1:]}" if remedy else "Correct it", code=2)


def findings(problems: Iterable[Problem]) -> list[dict[str, object]]:
    """Problems as `--json` prints them, the most urgent first."""
    return [
        {
            "severity": rule.severity,
            "code": rule.code,
            "name": rule.name,
            "file": shown(Path(problem.at.file)),
            "line": problem.at.line,
            "column": problem.at.column,
            "field": problem.field,
            "what": problem.what,
            "remedy": problem.remedy,
        }
        for rule, problem in by_urgency(problems)
    ]


def print_findings(problems: Iterable[Problem]) -> None:
    """The same, one a line on standard error."""
    for rule, problem in by_urgency(problems):
        text = str(problem).removesuffix(f"[{problem.code}]")
        typer.echo(f"{rule.severity}: {text}[{' '.join(filter(None, (rule.code, rule.name)))}]", err=True)


def print_json(document: Any) -> None:
    """The one document of `--json`."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))


def print_table(table: Table) -> None:
    """A table as wide as the terminal, or as it needs in a pipe."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=240)
    for column in table.columns:
        column.no_wrap = True
    console.print(table)


@contextlib.contextmanager
def progress_bar(what: str, *, shown: bool) -> Iterator[Callable[[float], None]]:
    """Something to call with the share that is done; drawn on a terminal only, on standard error."""
    console = Console(stderr=True)
    if not shown or not console.is_terminal:
        yield lambda share: None
        return
    from rich.progress import Progress

    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task(what, total=1.0)
        yield lambda share: progress.update(bar, completed=share)


def shown(path: Path) -> str:
    """A path as short as it can be written from here."""
    relative = os.path.relpath(path)
    return relative if not relative.startswith("..") else str(path)


def fail(what: str, remedy: str, code: int = 1) -> NoReturn:
    """One line on standard error, and the end."""
    typer.echo(f"signalbox: {what}. {remedy}.", err=True)
    raise typer.Exit(code)
