"""What a person reads of a triage on the terminal.

Owns words and layout. Refuses to rank: it shows what it is given, and all of it is text of others, never markup.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

BAR = 10
_STYLES = ((0.75, "bold red"), (0.55, "bold yellow"), (0.0, "bold"))


def render(document: dict[str, Any]) -> Group:
    """The document of a triage as a page of text."""
    parts: list[Any] = [_heading(document)]
    for cause in document["causes"]:
        parts += [Text(), *_cause(cause)]
    if not document["causes"]:
        parts += [Text(), Text("Nothing unusual.", style="bold green")]
        if document["explained"]:
            seen = ", ".join(f"{one['component']} {one['kind']}" for one in document["explained"][:5])
            parts.append(Text(f"Too weak to tell: {seen}.", style="dim"))
    parts += _notes(document)
    return Group(*parts)


def print_document(document: dict[str, Any], console: Console) -> None:
    """Print it."""
    console.print(render(document))


def _heading(document: dict[str, Any]) -> Text:
    now, before = document["windows"]["now"], document["windows"]["before"]
    alert = document["alert"]
    text = Text()
    if alert:
        text.append(f"{alert['alert']} ({alert['tier']}) since {alert['starts_at']}", style="bold")
        text.append(f"   trace {alert['trace_id']}\n" if alert["trace_id"] else "\n")
    return text.append(f"{_moments(now)} against {_moments(before)} UTC", style="dim")


def _cause(cause: dict[str, Any]) -> list[Any]:
    score = cause["score"]
    filled = round(score * BAR)
    style = next(style for least, style in _STYLES if score >= least)
    head = Text(f"{cause['rank']}. ")
    head.append(f"{cause['component']}: {cause['kind']}", style=style)
    head.append(f"   {'█' * filled}{'░' * (BAR - filled)} {score:.2f}")
    signs = Table.grid(padding=(0, 1))
    signs.add_column(width=2)
    signs.add_column(style="dim", no_wrap=True)
    signs.add_column(overflow="fold")
    for sign in cause["evidence"]:
        line = Text(sign["says"])
        if sign["trace_id"]:
            line.append(f"   trace {sign['trace_id']}", style="dim")
        signs.add_row("", sign["origin"], line)
    if cause["explained_by"]:
        signs.add_row("", "", Text(f"partly explained by {', '.join(cause['explained_by'])}", style="dim"))
    return [head, signs]


def _notes(document: dict[str, Any]) -> list[Any]:
    notes = [f"Changed: {change}." for change in document["changes"]]
    notes += [f"Not all was read: {why}." for why in document["missing"].values()]
    if document["no_baseline"]:
        notes.append(
            "There is nothing to compare with: the window before has no samples. Only fixed limits were applied."
        )
    hidden = [f"{one['component']} {one['kind']}" for one in document["explained"]] if document["causes"] else []
    if hidden:
        notes.append(f"Explained by these or too weak: {', '.join(hidden)}. Everything with its queries: --json.")
    return [Text(), *(Text(note, style="dim") for note in notes)] if notes else []


def _moments(window: dict[str, float]) -> str:
    start, end = (datetime.fromtimestamp(window[key], UTC) for key in ("start", "end"))
    return f"{start:%H:%M:%S}–{end:%H:%M:%S}"
