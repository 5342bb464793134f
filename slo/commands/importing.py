"""`slo import`: SLO files of Sloth and Pyrra → OpenSLO documents."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from slo.adopt.document import Defaults
from slo.adopt.read import read_files
from slo.commands.console import Json, fail, findings, print_findings, print_json, read_duration, shown
from slo.lint.catalogue import rule_of

Files = Annotated[list[Path], typer.Argument(help="Files of Sloth or Pyrra.")]
Out = Annotated[Path | None, typer.Option(help="Folder for the documents.", show_default="standard output")]
Team = Annotated[str, typer.Option(help="Who owns SLOs whose labels do not say.")]
Service = Annotated[str, typer.Option(help="Whose SLOs they are, where no label says (Pyrra).")]
Window = Annotated[str, typer.Option(help="The period of Sloth's SLOs, which their files do not hold.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite files that are there.")]


def import_files(
    files: Files,
    out: Out = None,
    team: Team = "",
    service: Service = "",
    window: Window = "30d",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Make OpenSLO documents of Sloth's and Pyrra's files. Exit code 1 when an SLO could not be carried over."""
    read_duration("--window", window)
    adopted = read_files(files, Defaults(team, service, window))
    texts = adopted.files() if adopted.slos else {}
    if out is not None:
        there = [name for name in texts if (out / name).exists()]
        if there and not force:
            fail(f"{shown(out / there[0])} is there already", "Choose another folder, or --force", code=2)
        try:
            out.mkdir(parents=True, exist_ok=True)
            for name, text in texts.items():
                (out / name).write_text(text)
        except OSError as error:
            fail(f"{error.filename}: {error.strerror}", "Look at the folder's owner, mode and free space")
    ok = bool(texts) and not any(rule_of(problem).severity == "error" for problem in adopted.problems)
    if as_json:
        documents = {} if out else texts
        written = [shown(out / name) for name in texts] if out else []
        print_json(
            {"ok": ok, "slos": sorted(adopted.slos), "written": written, "documents": documents,
             "findings": findings(adopted.problems)}
        )  # fmt: skip
    else:
        if out is None:
            typer.echo("---\n".join(texts.values()), nl=False)
        print_findings(adopted.problems)
        typer.echo(f"{len(adopted.slos)} SLOs carried over{f' to {shown(out)}' if out else ''}", err=True)
    raise typer.Exit(0 if ok else 1)
