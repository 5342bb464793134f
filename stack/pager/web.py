"""The pager's web pages.

Owns: templates, how times and durations read, and the headers that keep alert texts, which are hostile input, from
doing anything. Refuses to know: routes, and where the shown data came from.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stack.pager.clues import emit_left, emit_share
from stack.pager.lengths import emit_coarse

FOLDER = Path(__file__).parent

_HEADERS = [
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; "
        b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-cache"),
]


def build_templates(base_path: str) -> Environment:
    """Templates that escape everything and refuse a name they were not given."""
    environment = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["base"] = base_path  # pyrefly: ignore[unsupported-operation]
    environment.filters |= {
        "ago": emit_age,
        "duration": emit_duration,
        "coarse": emit_coarse,
        "percent": emit_share,
        "left": emit_left,
        "clock": emit_clock,
        "iso": emit_iso,
        "instant": emit_instant,
    }
    return environment


def emit_duration(seconds: float) -> str:
    """Two units at most: `850 µs`, `12.5 ms`, `3.20 s`, `4 min 10 s`, `2 h 5 min`, `3 d 4 h`."""
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 1:
        return f"{seconds * 1e3:.1f} ms"
    if seconds < 60:
        return f"{seconds:.2f} s"
    return emit_coarse(seconds)


def emit_age(moment_s: float) -> str:
    """How long ago: whole seconds at the finest, never negative."""
    seconds = max(time.time() - moment_s, 0.0)
    return f"{seconds:.0f} s" if seconds < 59.5 else emit_coarse(seconds)


def emit_clock(moment_s: float) -> str:
    """The time of day in UTC, with the date when it is not today's."""
    moment = datetime.fromtimestamp(moment_s, UTC)
    is_today = moment.date() == datetime.now(UTC).date()
    return moment.strftime("%H:%M:%S UTC" if is_today else "%Y-%m-%d %H:%M:%S UTC")


def emit_instant(moment_s: float) -> str:
    """The time of day in UTC to the millisecond, for lists in which order matters."""
    return datetime.fromtimestamp(moment_s, UTC).time().isoformat(timespec="milliseconds")


def emit_iso(moment_s: float) -> str:
    return datetime.fromtimestamp(moment_s, UTC).isoformat(timespec="milliseconds")


class SecurityHeaders:
    """ASGI middleware: the headers above on every response."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_HEADERS]
            await send(message)

        await self._app(scope, receive, send_with_headers)
