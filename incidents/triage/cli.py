"""The command `triage`: what is probably the cause of what is wrong now.

Owns words, output and exit codes: 0 looked (the document's `verdict` says what was found), 1 could not look, 2 wrong
use. `--json` prints one document and nothing else. Refuses to know how causes are found.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from incidents.capture.command import FAILED, INTERRUPTED, STATE_VARIABLE, WRONG_USE, stop
from incidents.replay.command import telling

if TYPE_CHECKING:
    from incidents.triage.triage import Triage

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
    bundle: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Load this capture, as `incident replay` does, and look at it instead."),
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

    asked = Asked(alert, _moment(at, "--at"), window, _moment(since, "--since"))
    urls, receivers, clock = _system(context.obj, endpoints)
    try:
        system = Endpoints.parse(urls)
        with Progress(quiet=as_json) as progress:
            if bundle is None:
                found, page = asyncio.run(_look(system, clock, asked, progress))
            else:
                found, page = asyncio.run(_look_back(system, receivers, clock, asked, bundle, progress))
    except EndpointError as error:
        stop(str(error), FAILED)
    except KeyboardInterrupt:
        stop("interrupted", INTERRUPTED)
    document = emit_document(found, page)
    if as_json:
        typer.echo(json.dumps(document, indent=2))
    else:
        print_document(document, _console())


@dataclass(frozen=True)
class Asked:
    """What a person wants to know about; times are seconds since the epoch."""

    name: str | None
    at: float | None
    window_s: float | None
    onset: float | None


async def _look(endpoints: Any, clock: float, asked: Asked, progress: Any) -> tuple[Triage, dict[str, Any] | None]:
    from incidents.observe import Backends
    from incidents.triage.observe import observe_pages, observe_windows
    from incidents.triage.triage import triage
    from incidents.triage.windows import choose_page, estimate_onset, moment_of

    async with Backends(endpoints, clock) as backends:
        pages = await observe_pages(backends)
        page = choose_page(pages, asked.name) if asked.name or asked.at is None else None
        _known(asked.name, page, pages, "the pager")
        moment = asked.at or (moment_of(page, clock) if page else None) or time.time()
        onset = asked.onset
        if onset is None and page is not None:
            onset = estimate_onset(page, pages, clock)
        windows = await observe_windows(backends, moment, length_s=asked.window_s, onset_at=onset, pages=pages)
        return await triage(backends, windows, progress.say), page


async def _look_back(
    endpoints: Any, receivers: dict[str, Any], clock: float, asked: Asked, bundle: Path, progress: Any
) -> tuple[Triage, dict[str, Any] | None]:
    """The same for a captured slice: its own alerts take the place of the pager's."""
    from incidents.observe import BackendError, Backends, parse_time
    from incidents.triage.slice import choose_alert, load_slice, observe_alerts
    from incidents.triage.triage import triage
    from incidents.triage.windows import build_windows

    with telling():
        where = await load_slice(bundle, endpoints.urls, receivers, progress)
    try:
        async with Backends(endpoints, clock) as backends:
            alerts = await observe_alerts(backends, where)
            alert = choose_alert(alerts, asked.name) if asked.name or asked.at is None else None
            _known(asked.name, alert, alerts, "the slice")
            length_s = asked.window_s or where.window_s(clock)
            began = parse_time(alert["starts_at"]) if alert else None
            moment = asked.at + where.shift_s if asked.at else (began + length_s if began else where.end)
            onset = asked.onset + where.shift_s if asked.onset else (began - length_s if began else None)
            windows = build_windows(clock, min(moment, where.end), length_s=length_s, onset_at=onset)
            return await triage(backends, windows, progress.say), alert
    except BackendError as error:
        stop(str(error), FAILED)


def _known(name: str | None, found: dict[str, Any] | None, among: list[dict[str, Any]], where: str) -> None:
    if name and found is None:
        known = ", ".join(sorted({one["alert"] for one in among})) or "none"
        stop(f"{where} has no page {name!r}. Known: {known}", WRONG_USE)


def _system(given: Any, endpoints: Path | None) -> tuple[dict[str, Any], dict[str, Any], float]:
    """Addresses, receivers and clock of the running system: from the caller, or from a state document."""
    path = endpoints or (Path(os.environ[STATE_VARIABLE]) if os.environ.get(STATE_VARIABLE) else None)
    if path is None and given is not None:
        if not given["endpoints"]:
            stop(
                "the stack is not running. Start it with `signalbox up`, or name another system with --endpoints",
                FAILED,
            )
        return given["endpoints"], given.get("receivers") or {}, float(given["clock"])
    if path is None:
        stop(f"no system to look at. Name its state document with --endpoints or ${STATE_VARIABLE}", WRONG_USE)
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        return dict(state["urls"]), dict(state.get("receivers") or {}), float(state["clock"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        stop(f"{path} is not a state document ({error!r}). It holds at least `urls` and `clock`", WRONG_USE)


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
        stop(f"{option} is {text!r:.60}, neither an RFC 3339 time nor seconds since the epoch", WRONG_USE)


def _console() -> Any:
    from rich.console import Console

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=200)
