"""The command `triage`: what is probably the cause of what is wrong now.

Owns words, output and exit codes: 0 looked (the document's `verdict` says what was found), 1 could not look, 2 wrong
use. `--json` prints one document and nothing else. Refuses to know how causes are found.
"""

from __future__ import annotations

import json
import os
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from incidents.triage.triage import Triage

FAILED, WRONG_USE = 1, 2
STATE_VARIABLE = "SIGNALBOX_STATE_JSON"

app = typer.Typer(pretty_exceptions_enable=False)


@app.command("triage")
def triage_command(
    context: typer.Context,
    alert: Annotated[
        str | None,
        typer.Argument(metavar="ALERT", help="A page's id or an alert's name. [default: the newest open page]"),
    ] = None,
    at: Annotated[
        str | None, typer.Option(metavar="TIME", help="Look at a past moment: RFC 3339, or seconds since the epoch.")
    ] = None,
    window: Annotated[
        float | None, typer.Option(metavar="SECONDS", min=5, max=86_400, help="Length of the window now.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="When it began, if known. [default: before the alert]")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")] = False,
    endpoints: Annotated[
        Path | None,
        typer.Option("--endpoints", metavar="FILE", help=f"State document of the system; else ${STATE_VARIABLE}."),
    ] = None,
) -> None:
    """Rank the probable causes of what is wrong now, with the evidence for each. Faults are not looked at."""
    import asyncio

    from incidents.endpoints import EndpointError, Endpoints
    from incidents.progress import Progress
    from incidents.triage.render import print_document
    from incidents.triage.triage import emit_document

    moment, onset = _moment(at, "--at"), _moment(since, "--since")
    urls, clock = _system(context.obj, endpoints)
    try:
        with Progress(quiet=as_json) as progress:
            found, page = asyncio.run(_look(Endpoints.parse(urls), clock, alert, moment, window, onset, progress))
    except EndpointError as error:
        _stop(str(error), FAILED)
    document = emit_document(found, page)
    if as_json:
        typer.echo(json.dumps(document, indent=2))
    else:
        print_document(document, _console())


async def _look(
    endpoints: Any,
    clock: float,
    name: str | None,
    at: float | None,
    window: float | None,
    onset: float | None,
    progress: Any,
) -> tuple[Triage, dict[str, Any] | None]:
    from incidents.observe import Backends
    from incidents.triage.observe import observe_pages
    from incidents.triage.triage import triage
    from incidents.triage.windows import build_windows, choose_page, estimate_onset, moment_of

    async with Backends(endpoints, clock) as backends:
        pages = await observe_pages(backends)
        page = choose_page(pages, name) if name or at is None else None
        if name and page is None:
            known = ", ".join(sorted({one["alert"] for one in pages})) or "none"
            _stop(f"the pager has no page {name!r}. Known: {known}", WRONG_USE)
        moment = at or (moment_of(page, clock) if page else None) or time.time()
        if onset is None and page is not None:
            onset = estimate_onset(page, pages, clock)
        windows = build_windows(clock, moment, length_s=window, onset_at=onset)
        return await triage(backends, windows, progress.say), page


def _system(given: Any, endpoints: Path | None) -> tuple[dict[str, Any], float]:
    """Addresses and clock of the running system: from the caller, or from a state document."""
    path = endpoints or (Path(os.environ[STATE_VARIABLE]) if os.environ.get(STATE_VARIABLE) else None)
    if path is None and given is not None:
        if not given["endpoints"]:
            _stop(
                "the stack is not running. Start it with `signalbox up`, or name another system with --endpoints",
                FAILED,
            )
        return given["endpoints"], float(given["clock"])
    if path is None:
        _stop(f"no system to look at. Name its state document with --endpoints or ${STATE_VARIABLE}", WRONG_USE)
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        return dict(state["urls"]), float(state["clock"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        _stop(f"{path} is not a state document ({error!r}). It holds at least `urls` and `clock`", WRONG_USE)


def _moment(text: str | None, option: str) -> float | None:
    if text is None:
        return None
    try:
        try:
            moment = float(text)
        except ValueError:
            moment = datetime.fromisoformat(text).timestamp()
        if not 0 < moment < 253_402_300_800:
            raise ValueError
        return moment
    except (ValueError, OverflowError):
        _stop(f"{option} is {text!r:.60}, neither an RFC 3339 time nor seconds since the epoch", WRONG_USE)


def _console() -> Any:
    from rich.console import Console

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=200)


def _stop(what: str, code: int) -> NoReturn:
    typer.echo(f"signalbox: {what}.", err=True)
    raise typer.Exit(code)
