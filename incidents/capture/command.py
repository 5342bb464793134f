"""`incident capture`: options → a capture, and what a person sees of it.

Owns words and exit codes. Does no work itself.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from incidents.bundle.form import Manifest
    from incidents.capture.source import Source

FAILED, WRONG_USE, INTERRUPTED = 1, 2, 130
KEY_VARIABLE = "SIGNALBOX_CAPTURE_KEY"
STATE_VARIABLE = "SIGNALBOX_STATE_JSON"


def capture(
    context: typer.Context,
    start: Annotated[str, typer.Option("--from", metavar="TIME", help="2026-03-01T09:30:00Z, -15m, -2h.")],
    end: Annotated[str, typer.Option("--to", metavar="TIME", help="The same forms, or now.")] = "now",
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="The bundle. [default: incident-<time>.zip]")] = None,
    prometheus: Annotated[str | None, typer.Option(metavar="URL", help="A Prometheus to read.")] = None,
    loki: Annotated[str | None, typer.Option(metavar="URL", help="A Loki to read.")] = None,
    jaeger: Annotated[str | None, typer.Option(metavar="URL", help="A Jaeger query address to read.")] = None,
    endpoints: Annotated[
        Path | None, typer.Option(metavar="FILE", help=f"State document of a system; else ${STATE_VARIABLE}.")
    ] = None,
    metrics: Annotated[str, typer.Option(metavar="SELECTOR", help='Only these series: {job="api"}.')] = "",
    logs: Annotated[str, typer.Option(metavar="LOGQL", help='Only these lines: {app="shop"} |= "x".')] = "",
    services: Annotated[list[str] | None, typer.Option("--service", help="Only traces of these services.")] = None,
    limit_mib: Annotated[int, typer.Option(min=1, max=2048, help="Most of each part, unpacked, in MiB.")] = 512,
    headers: Annotated[Path | None, typer.Option(metavar="FILE", help="YAML: backend → header → value.")] = None,
    redact: Annotated[Path | None, typer.Option(metavar="FILE", help="YAML: your own rules of redaction.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")] = False,
) -> None:
    """Take a time slice out of any Prometheus, Loki and Jaeger into one file: read-only, redacted, bounded.

    Without addresses the running stack is captured; with any, only those named. Passwords come from the environment:
    SIGNALBOX_CAPTURE_PROMETHEUS_TOKEN, or _USER and _PASSWORD; LOKI and JAEGER likewise.
    """
    from incidents.capture.capture import Choice
    from incidents.capture.moments import TimeError, parse_slice
    from incidents.capture.redact import Redactor, RulesError, parse_rules
    from incidents.capture.source import SourceError, parse_headers

    try:
        slice_ = parse_slice(start, end, time.time())
        redactor = Redactor(parse_rules(redact), (os.environ.get(KEY_VARIABLE) or secrets.token_hex(32)).encode())
        named = {"prometheus": prometheus, "loki": loki, "jaeger": jaeger}
        urls = {name: url for name, url in named.items() if url} or _known_urls(context.obj, endpoints)
        given = parse_headers(os.environ, headers)
    except (TimeError, RulesError, SourceError) as error:
        stop(str(error), WRONG_USE)
    if out is None:
        out = Path(f"incident-{datetime.fromtimestamp(slice_.start_ms / 1000, UTC):%Y%m%dT%H%M%SZ}.zip")
    choice = Choice(metrics, logs, tuple(services or ()), limit_mib * 1024**2)
    began = time.monotonic()
    try:
        manifest = asyncio.run(_run(slice_, urls, given, choice, redactor, out, as_json))
    except SourceError as error:
        stop(f"{error}. Nothing was written", FAILED)
    except OSError as error:
        stop(f"{out} cannot be written: {error.strerror or error}. Choose another --out", FAILED)
    except KeyboardInterrupt:
        stop("interrupted; nothing was written", INTERRUPTED)
    _report(manifest, out, time.monotonic() - began, as_json)


async def _run(
    slice_: Any, urls: dict[str, str], given: dict[str, Any], choice: Any, redactor: Any, out: Path, quiet: bool
) -> Manifest:
    import httpx

    from incidents.capture.capture import Capture
    from incidents.capture.source import TIMEOUT_S, Source
    from incidents.progress import Progress

    async with httpx.AsyncClient(timeout=TIMEOUT_S) as client:
        sources: dict[str, Source] = {name: Source(name, url, given[name], client) for name, url in urls.items()}
        with Progress(quiet=quiet) as progress:
            progress.phase("capture", f"{slice_} from {', '.join(sources)}")
            return await Capture(slice_, sources, choice, redactor, progress).run(out)


def _known_urls(given: Any, endpoints: Path | None) -> dict[str, str]:
    """Addresses of a running stack, from a state document or from the caller. Raises SourceError."""
    from incidents.capture.source import BACKENDS, SourceError, parse_urls

    if path := endpoints or (Path(os.environ[STATE_VARIABLE]) if os.environ.get(STATE_VARIABLE) else None):
        return parse_urls(path)
    urls = {name: url for name, url in ((given or {}).get("endpoints") or {}).items() if name in BACKENDS}
    if not urls:
        raise SourceError("no stack is running here. Name a backend with --prometheus, --loki or --jaeger")
    return urls


def _report(manifest: Manifest, out: Path, took_s: float, as_json: bool) -> None:
    size = out.stat().st_size
    if as_json:
        document = {"bundle": str(out), "bytes": size, "took_s": round(took_s, 2), **manifest.model_dump(mode="json")}
        typer.echo(json.dumps(document, indent=2))
        return
    for line in manifest.cut:
        typer.echo(f"cut: {line}", err=True)
    found = ", ".join(f"{count:,} × {kind}" for kind, count in sorted(manifest.redacted.items())) or "nothing"
    typer.echo(f"redacted: {found}", err=True)
    typer.echo(f"{out}  {size / 1024**2:.1f} MiB, bundle {manifest.id}, {took_s:.1f} s")


def stop(what: str, code: int) -> NoReturn:
    """End the command with one line on standard error."""
    typer.echo(f"signalbox: {' '.join(what.split())}.", err=True)
    raise typer.Exit(code)
