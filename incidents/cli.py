"""The command line: `incident list` and `incident run`; `capture` and `replay` are registered here.

Owns words, output and exit codes: 0 held, 1 failed, 2 wrong use, 130 after Ctrl-C; `--json` prints one document and
nothing else. Refuses to know where the addresses come from: a caller gives them, or a state document does.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from incidents.capture.command import capture
from incidents.replay.command import replay

if TYPE_CHECKING:
    from rich.console import Console

    from incidents.scenario_file import Entry, ScenarioFile
    from incidents.session import Outcome

FAILED, WRONG_USE, INTERRUPTED = 1, 2, 130
STATE_VARIABLE = "SIGNALBOX_STATE_JSON"
REPORTS = Path("incident-reports")

app = typer.Typer(
    no_args_is_help=True, help="Reproduce incidents and prove that they page.", pretty_exceptions_enable=False
)

app.command()(capture)
app.command()(replay)

Out = Annotated[Path, typer.Option(metavar="FOLDER", help="Where report folders are made.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
State = Annotated[
    Path | None,
    typer.Option("--endpoints", metavar="FILE", help=f"State document of the system; else ${STATE_VARIABLE} names it."),
]


System = tuple[dict[str, Any], list[dict[str, Any]], float]
"""Addresses by name, components, and the clock at which it runs."""


@app.command("list")
def list_incidents(out: Out = REPORTS, as_json: Json = False) -> None:
    """Every incident that can be run, what pages for it, and how its last run here ended."""
    from incidents.listing import describe, incident_table, last_verdicts

    entries = _catalogue()
    verdicts = last_verdicts(out, entries)
    rows = [describe(name, entry, verdicts.get(name)) for name, entry in entries.items()]
    if as_json:
        typer.echo(json.dumps({"incidents": rows}, indent=2))
        return
    _console().print(incident_table(rows))


@app.command("run")
def run_incident(
    context: typer.Context,
    incident: Annotated[str | None, typer.Argument(metavar="ID", help="What to run; `list` shows the ids.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Run every incident and every twin.")] = False,
    seeds: Annotated[str, typer.Option(metavar="N|A-B", help="With --all: seeds 1 to N, or A to B.")] = "1",
    results: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="With --all: where results are kept. Given again: results to add."),
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="With --all: forget earlier results.")] = False,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the load instead of the scenario's.")] = None,
    clock: Annotated[float | None, typer.Option(min=1, max=100, help="Clock instead of the scenario's.")] = None,
    as_json: Json = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the incident open after detection until Ctrl-C.")] = False,
    out: Out = REPORTS,
    endpoints: State = None,
) -> None:
    """Reproduce one incident: healthy before, broken, seen, paged, mitigated, healthy again. Exit 0 only if it held.

    With --all: every incident and its twin, with several seeds; what is done already is not done again.
    """
    entries = _catalogue()
    if everything:
        if incident or keep or seed is not None:
            _stop("--all runs everything: leave ID, --seed and --keep out", WRONG_USE)
        _run_all(entries, seeds, clock, results, fresh, out, lambda at: _system(context.obj, endpoints, at), as_json)
    if incident is None:
        _stop("name an incident, or say --all. `incident list` shows the ids", WRONG_USE)
    if incident not in entries:
        _stop(f"there is no incident {incident!r}. Known: {', '.join(entries)}", WRONG_USE)
    entry = entries[incident]
    scenario = entry.source.scenario
    clock = clock or scenario.clock
    system = _system(context.obj, endpoints, clock)
    from incidents.run import Interrupted

    try:
        seed = scenario.seeds.load if seed is None else seed
        outcome = _run_once(entry.source, entry.twin, seed, system, out, quiet=as_json, keep=keep)
    except (KeyboardInterrupt, Interrupted) as interrupted:
        left = str(interrupted) or "faults are cleared and the load has stopped"
        _stop(f"interrupted: {left}", INTERRUPTED)
    if as_json:
        typer.echo(json.dumps(outcome.document, indent=2))
    elif not outcome.held:
        _stop(f"{incident} failed: {outcome.why}. See {outcome.document['report']}", FAILED)
    raise typer.Exit(0 if outcome.held else FAILED)


def _catalogue() -> dict[str, Entry]:
    from incidents import scenario_file
    from incidents.scenario import TWIN_SUFFIX

    try:
        found = scenario_file.observe_scenarios(scenario_file.FOLDER)
    except scenario_file.ScenarioErrors as refused:
        for line in refused.errors:
            typer.echo(f"signalbox: {line}", err=True)
        raise typer.Exit(WRONG_USE) from None
    return {
        name + suffix: scenario_file.Entry(source, bool(suffix))
        for name, source in found.items()
        for suffix in ("", TWIN_SUFFIX)
    }


def _run_all(
    entries: dict[str, Entry],
    seeds: str,
    clock: float | None,
    results: list[Path] | None,
    fresh: bool,
    out: Path,
    find_system: Callable[[float], System],
    as_json: bool,
) -> NoReturn:
    from incidents import campaign
    from incidents.listing import campaign_table
    from incidents.run import Interrupted

    sources = [entry.source for entry in entries.values() if not entry.twin]
    try:
        planned = campaign.errands(sources, campaign.parse_seeds(seeds), clock)
    except ValueError:
        _stop(f"--seeds takes a number or a range such as 4-6, up to {campaign.MOST_SEEDS}, not {seeds!r}", WRONG_USE)
    path, *others = results or [campaign.RESULTS]
    for other in others:
        if not other.is_file():
            _stop(f"there are no results in {other}", WRONG_USE)
    kept = campaign.Results(path, others=others, fresh=fresh)
    try:
        for number, errand in enumerate(planned, 1):
            if kept.has(errand):
                continue
            typer.echo(f"{number} of {len(planned)}: {errand.id}, seed {errand.seed}", err=True)
            outcome = _run_once(errand.source, errand.twin, errand.seed, find_system(errand.clock), out, quiet=True)
            kept.add(errand, outcome.document, why=outcome.why, pages=outcome.pages, triage=outcome.triage)
            typer.echo(f"    {outcome.document['verdict']}{': ' + outcome.why if outcome.why else ''}", err=True)
    except (KeyboardInterrupt, Interrupted):
        _stop(f"interrupted; what is done is in {kept.path}, the same command goes on", INTERRUPTED)
    document = kept.document()
    if as_json:
        typer.echo(json.dumps(document, indent=2))
    else:
        _console().print(campaign_table(document["incidents"]))
    raise typer.Exit(0 if all(campaign.promise_kept(row) for row in document["incidents"]) else FAILED)


def _run_once(
    source: ScenarioFile,
    twin: bool,
    seed: int,
    system: System,
    out: Path,
    *,
    quiet: bool = False,
    keep: bool = False,
) -> Outcome:
    """One run against a system. Stops the command when it could not begin; raises Interrupted."""
    import asyncio

    from incidents.session import Session, Unusable

    urls, components, clock = system
    try:
        return asyncio.run(Session(source, twin, seed, clock, urls, components).run(out, quiet=quiet, keep=keep))
    except Unusable as error:
        _stop(str(error), FAILED)


def _console() -> Console:
    from rich.console import Console

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=200)  # a pipe has no width of its own


def _system(given: Any, endpoints: Path | None, clock: float) -> System:
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
