"""The command line: `incident list` and `incident run`.

Owns words, output and exit codes: 0 held, 1 failed, 2 wrong use, 130 after Ctrl-C; `--json` prints one document and
nothing else. Refuses to know where the addresses come from: a caller gives them, or a state document does.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from incidents.scenario_file import ScenarioFile

FAILED, WRONG_USE, INTERRUPTED = 1, 2, 130
STATE_VARIABLE = "SIGNALBOX_STATE_JSON"
REPORTS = Path("incident-reports")

app = typer.Typer(
    no_args_is_help=True, help="Reproduce incidents and prove that they page.", pretty_exceptions_enable=False
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
State = Annotated[
    Path | None,
    typer.Option("--endpoints", metavar="FILE", help=f"State document of the system; else ${STATE_VARIABLE} names it."),
]


@dataclass(frozen=True)
class _Entry:
    """A scenario or its twin, as a person names it."""

    source: ScenarioFile
    twin: bool


@app.command("list")
def list_incidents(as_json: Json = False) -> None:
    """Every incident that can be run, each with its no-op twin."""
    entries = _catalogue()
    if as_json:
        typer.echo(json.dumps({"incidents": [_describe(name, entry) for name, entry in entries.items()]}, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("incident", "what happens", "pages", "within"):
        table.add_column(heading, no_wrap=heading == "incident", overflow="fold")
    for name, entry in entries.items():
        row = _describe(name, entry)
        if entry.twin:
            table.add_row(name, "[dim]nothing: the twin[/dim]", "nobody")
        else:
            alert = row["alert"]
            table.add_row(name, row["title"], alert["name"], f"{alert['deadline_s']:g} s at clock {row['clock']:g}")
    Console(highlight=False).print(table)


@app.command("run")
def run_incident(
    context: typer.Context,
    incident: Annotated[str, typer.Argument(metavar="ID", help="What to run; `list` shows the ids.")],
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the load instead of the scenario's.")] = None,
    clock: Annotated[float | None, typer.Option(min=1, max=100, help="Clock instead of the scenario's.")] = None,
    as_json: Json = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the incident open after detection until Ctrl-C.")] = False,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where report folders are made.")] = REPORTS,
    endpoints: State = None,
) -> None:
    """Reproduce one incident: healthy before, broken, seen, paged, mitigated, healthy again. Exit 0 only if it held."""
    entries = _catalogue()
    if incident not in entries:
        _stop(f"there is no incident {incident!r}. Known: {', '.join(entries)}", WRONG_USE)
    entry = entries[incident]
    scenario = entry.source.scenario
    clock = clock or scenario.clock
    urls, components, actual = _system(context.obj, endpoints, clock)

    import asyncio

    from incidents.run import Interrupted
    from incidents.session import Session, Unusable

    session = Session(entry.source, entry.twin, scenario.seeds.load if seed is None else seed, actual, urls, components)
    try:
        outcome = asyncio.run(session.run(out, quiet=as_json, keep=keep))
    except (KeyboardInterrupt, Interrupted) as interrupted:
        left = str(interrupted) or "faults are cleared and the load has stopped"
        _stop(f"interrupted: {left}", INTERRUPTED)
    except Unusable as error:
        _stop(str(error), FAILED)
    if as_json:
        typer.echo(json.dumps(outcome.document, indent=2))
    elif not outcome.held:
        _stop(f"{incident} failed: {outcome.why}. See {outcome.document['report']}", FAILED)
    raise typer.Exit(0 if outcome.held else FAILED)


def _catalogue() -> dict[str, _Entry]:
    from incidents import scenario_file
    from incidents.scenario import TWIN_SUFFIX

    try:
        found = scenario_file.observe_scenarios(scenario_file.FOLDER)
    except scenario_file.ScenarioErrors as refused:
        for line in refused.errors:
            typer.echo(f"signalbox: {line}", err=True)
        raise typer.Exit(WRONG_USE) from None
    return {
        name + suffix: _Entry(source, bool(suffix)) for name, source in found.items() for suffix in ("", TWIN_SUFFIX)
    }


def _describe(name: str, entry: _Entry) -> dict[str, Any]:
    scenario = entry.source.scenario
    alert = scenario.alert
    return {
        "id": name,
        "title": scenario.title,
        "twin_of": scenario.id if entry.twin else None,
        "clock": scenario.clock,
        "alert": {"name": alert.name, "tier": alert.tier, "deadline_s": alert.deadline_s},
    }


def _system(given: Any, endpoints: Path | None, clock: float) -> tuple[dict[str, Any], list[dict[str, Any]], float]:
    """Addresses, components and the clock of the running system: from the caller, or from a state document."""
    if given is not None and endpoints is None:
        ensure: Callable[[float], dict[str, Any]] = given["ensure"]
        state = ensure(clock)
        return state.get("urls") or given["endpoints"], state.get("components", []), float(state.get("clock", clock))
    path = endpoints or (Path(os.environ[STATE_VARIABLE]) if os.environ.get(STATE_VARIABLE) else None)
    if path is None:
        _stop(f"no system to run against. Name its state document with --endpoints or ${STATE_VARIABLE}", WRONG_USE)
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        actual = float(state["clock"])
        urls = dict(state["urls"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        _stop(f"{path} is not a state document ({error!r}). It holds at least `urls` and `clock`", WRONG_USE)
    if actual != clock:
        _stop(f"the system runs at clock {actual:g}, not at {clock:g}. Start it so, or say --clock {actual:g}", FAILED)
    return urls, state.get("components", []), actual


def _stop(what: str, code: int) -> NoReturn:
    typer.echo(f"signalbox: {what}.", err=True)
    raise typer.Exit(code)
