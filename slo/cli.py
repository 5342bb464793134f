"""The commands of `slo`, mounted by the `signalbox` command and usable alone (`python -m slo`).

Owns the list. A new command is a module in `slo/commands/` and a line here.
"""

from __future__ import annotations

import typer

from slo.commands.explain import explain
from slo.commands.gate import gate
from slo.commands.generate import generate
from slo.commands.importing import import_files
from slo.commands.lint import lint
from slo.commands.plan import plan
from slo.commands.simulate import simulate
from slo.commands.status import status

app = typer.Typer(
    help="Compile SLOs into rules, routes, dashboards and runbooks, and reason about them.", no_args_is_help=True
)
app.command()(generate)
add_tools(app)
app.command()(lint)
app.command()(gate)
app.command()(plan)
app.command()(explain)
app.command()(simulate)
app.command()(status)
app.command("import")(import_files)
