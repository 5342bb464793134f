"""The commands of `slo`, mounted by the `signalbox` command and usable alone (`python -m slo`).

Owns the list. A new command is a module in `slo/commands/` and a line here.
"""

from __future__ import annotations

import typer

from slo.commands.canary import canary
from slo.commands.gate import gate
from slo.commands.generate import generate
from slo.commands.lint import lint
from slo.commands.tools import add_tools

app = typer.Typer(
    help="Compile SLOs into rules, routes, dashboards and runbooks, and reason about them.", no_args_is_help=True
)
app.command()(generate)
add_tools(app)
app.command()(lint)
app.command()(gate)
app.command()(canary)
