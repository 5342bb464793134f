"""`incident replay`: options → a replay, and what a person sees of it.

Owns words and exit codes. Does no work itself.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from incidents.capture.command import FAILED, INTERRUPTED, STATE_VARIABLE, WRONG_USE, stop

if TYPE_CHECKING:
    from incidents.bundle.read import Bundle
    from incidents.drive import Job
    from incidents.progress import Progress
    from incidents.replay.replay import Outcome


def replay(
    context: typer.Context,
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="What `incident capture` wrote.")],
    drive: Annotated[bool, typer.Option("--drive", help="Then send its mix of requests to the local service.")] = False,
    load: Annotated[bool, typer.Option("--load/--no-load", help="Load it into the local backends.")] = True,
    speed: Annotated[float, typer.Option(min=0.1, max=100, help="With --drive: so many times as fast.")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="With --drive: decides who asks for what.")] = 1,
    at: Annotated[
        str | None, typer.Option("--at", metavar="TIME", help="Where it shall begin. [default: its own time]")
    ] = None,
    endpoints: Annotated[
        Path | None, typer.Option(metavar="FILE", help=f"State document of the system; else ${STATE_VARIABLE}.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")] = False,
) -> None:
    """Load a captured slice into the local Prometheus, Loki and Jaeger, where dashboards, queries and links work on it.

    It keeps its times where nothing else is there, or is moved by whole days. A second time doubles nothing.
    """
    from incidents.bundle.read import Bundle
    from incidents.capture.moments import TimeError, parse_moment
    from incidents.progress import Progress
    from incidents.replay.requests import NoRequests

    try:
        at_ms = None if at is None else int(parse_moment(at, time.time()) * 1000)
        with telling():
            system = _system(context.obj, endpoints)
            with Progress(quiet=as_json) as progress, Bundle(bundle) as opened:
                outcome = asyncio.run(_run(opened, system, progress, load, at_ms, (speed, seed) if drive else None))
    except TimeError as error:
        stop(str(error), WRONG_USE)
    except NoRequests as error:
        stop(str(error), FAILED)
    except KeyboardInterrupt:
        stop("interrupted; the same command goes on where it stopped", INTERRUPTED)
    _report(outcome, as_json)


@contextmanager
def telling() -> Iterator[None]:
    """Whatever keeps a bundle from being loaded ends the command, and is told in one line."""
    from incidents.bundle.read import BundleError
    from incidents.capture.source import SourceError, TooMuch
    from incidents.replay.placement import NoPlace
    from incidents.replay.receiver import ReplayError

    try:
        yield
    except BundleError as error:
        stop(f"{error}. Nothing was loaded", FAILED)
    except TooMuch:
        stop("a backend's answer is too large. Nothing more was loaded", FAILED)
    except (ReplayError, SourceError, NoPlace) as error:
        stop(str(error), FAILED)


async def _run(
    bundle: Bundle,
    system: dict[str, Any],
    progress: Progress,
    load: bool,
    at_ms: int | None,
    drive: tuple[float, int] | None,
) -> Outcome:
    import httpx

    from incidents.capture.moments import emit_time
    from incidents.replay.receiver import TIMEOUT_S
    from incidents.replay.replay import Outcome, Replay
    from incidents.replay.requests import build_job, observe_mix

    async with httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False) as client:
        urls = system["urls"]
        one = Replay(bundle, urls, system["receivers"], progress, client)
        one.check()
        told = bundle.manifest
        job = mix = None
        if drive:
            mix = observe_mix(bundle.series(), told.start_ms, told.end_ms)
            job = build_job(mix, urls.get("gateway", ""), urls.get("issuer", ""), *drive)
        start, end = emit_time(told.start_ms), emit_time(told.end_ms)
        outcome = await one.load(at_ms) if load else Outcome(told.id, "", start, end, 0.0)
        if job and mix:
            outcome.drive = {"unknown_routes": dict(mix.unknown), "planned": mix.total, **await _drive(job, progress)}
        return outcome


async def _drive(job: Job, progress: Progress) -> dict[str, Any]:
    """Send the requests; progress tells how far they are."""
    from incidents.load import Load
    from incidents.replay.receiver import ReplayError

    if not job.base_url:
        raise ReplayError("no address of the gateway to send requests to. Start the stack with `signalbox up`")
    load = Load(job)
    progress.phase("drive", f"{job.max_s:.0f} s of requests to {job.base_url}")
    await load.start()
    ends = time.monotonic() + job.max_s
    try:
        while (left := ends - time.monotonic()) > 0:
            progress.now(f"driving: {left:.0f} s left")
            await asyncio.sleep(min(left, 0.5))
    finally:
        result = await load.stop()
    if result is None:
        raise ReplayError("the load ended before it could report")
    kept = ("sent", "unsent", "answered", "send_lag_ms", "routes")
    return {"rates_per_s": [round(step.rate_per_s, 2) for step in job.steps], **{key: result[key] for key in kept}}


def _system(given: Any, endpoints: Path | None) -> dict[str, Any]:
    """Addresses of the local system: from a state document, or from the caller. Raises ReplayError."""
    from incidents.replay.receiver import ReplayError

    if path := endpoints or (Path(os.environ[STATE_VARIABLE]) if os.environ.get(STATE_VARIABLE) else None):
        try:
            state = json.loads(path.read_text(encoding="utf-8"))
            return {"urls": dict(state["urls"]), "receivers": dict(state.get("receivers") or {})}
        except (OSError, ValueError, KeyError, TypeError):
            raise ReplayError(f'{path} is not a state document. It holds {{"urls": …, "receivers": …}}') from None
    urls = (given or {}).get("endpoints")
    if not urls:
        raise ReplayError("no stack is running here. Start it with `signalbox up`, or name one with --endpoints")
    return {"urls": urls, "receivers": given.get("receivers") or {}}


def _report(outcome: Outcome, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(outcome.document(), indent=2))
        return
    if outcome.drive:
        sent = outcome.drive
        typer.echo(f"driven: {sent['sent']:,} of {sent['planned']:,} requests, {sent['answered']:,} answered")
        for route, count in sorted(sent["unknown_routes"].items()):
            typer.echo(f"not driven: {count:,} × {route}, which this service does not offer to outsiders")
    if outcome.links:
        typer.echo(f"look at {outcome.start} to {outcome.end}:")
    for what, url in outcome.links.items():
        typer.echo(f"  {what:<28} {url}")
