"""The tools round the compiler: commands that change no generated file.

Owns their list and names.
"""

from __future__ import annotations

import typer

from slo.commands.explain import explain
from slo.commands.importing import import_files
from slo.commands.plan import plan
from slo.commands.simulate import simulate
from slo.commands.status import status


def add_tools(app: typer.Typer) -> None:
    """Put them on a command line."""
    for command in (plan, explain, simulate, status):
        app.command()(command)
    app.command("import")(import_files)
