"""What `incident list` and the table of a campaign show.

Owns their rows and columns, and reading the last verdict of each incident from the report folders. Runs nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from incidents.campaign import promise_kept
from incidents.scenario_file import Entry

_FOLDER = re.compile(r"(?P<id>.+)-\d{8}T\d{6}Z(-\d+)?")


def last_verdicts(reports: Path, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Of each incident the verdict and report of its newest folder in `reports`; what cannot be read is left out."""
    newest: dict[str, Path] = {}
    for folder in sorted(reports.glob("*-*T*Z*"), key=lambda folder: folder.name):
        if (found := _FOLDER.fullmatch(folder.name)) and found["id"] in names:
            newest[found["id"]] = folder
    verdicts = {}
    for name, folder in newest.items():
        try:
            evidence = json.loads((folder / "evidence.json").read_text(encoding="utf-8"))
            at = evidence["moments"]["started_at"]
            verdicts[name] = {"verdict": evidence["verdict"], "at": at, "report": str(folder / "report.html")}
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return verdicts


def describe(name: str, entry: Entry, last: Mapping[str, Any] | None) -> dict[str, Any]:
    """One incident as `list --json` has it."""
    scenario = entry.source.scenario
    alert = scenario.alert
    return {
        "id": name,
        "title": scenario.title,
        "twin_of": scenario.id if entry.twin else None,
        "clock": scenario.clock,
        "alert": {"name": alert.name, "tier": alert.tier, "deadline_s": alert.deadline_s},
        "faults": [] if entry.twin else [str(fault) for fault in scenario.faults],
        "cause": None if entry.twin else scenario.cause.model_dump(),
        "last": last,
    }


def incident_table(rows: Iterable[Mapping[str, Any]]) -> Table:
    """One line an incident; its twin is named by its verdict only."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("incident", "what happens", "alert", "within", "faults", "last run", "its twin"):
        table.add_column(heading, no_wrap=heading == "incident", overflow="fold")
    listed = list(rows)
    twins = {row["twin_of"]: row for row in listed if row["twin_of"]}
    for row in listed:
        if row["twin_of"]:
            continue
        alert = row["alert"]
        table.add_row(
            row["id"],
            row["title"],
            f"{alert['name']} ({alert['tier']})",
            f"{alert['deadline_s']:g} s",
            "; ".join(row["faults"]),
            _verdict(row["last"]),
            _verdict(twins[row["id"]]["last"]),
        )
    return table


def campaign_table(rows: Iterable[Mapping[str, Any]]) -> Table:
    """The table of promise 16."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in (
        "incident",
        "alert",
        "in time",
        "median",
        "longest",
        "allowed",
        "held",
        "twins paged",
        "promise",
        "cause first",
        "in three",
        "twins silent",
    ):
        table.add_column(heading, no_wrap=True)
    for row in rows:
        table.add_row(
            row["id"],
            row["alert"],
            f"{row['in_time']} of {row['runs']}",
            _seconds(row["median_s"]),
            _seconds(row["longest_s"]),
            _seconds(row["deadline_s"]),
            f"{row['held']} of {row['runs']}",
            f"{row['twin_pages']} in {row['twins']}",
            "[green]kept[/green]" if promise_kept(row) else "[red]broken[/red]",
            *_triage(row.get("triage")),
        )
    return table


def _triage(found: Mapping[str, int] | None) -> tuple[str, str, str]:
    """How triage did: the true cause first, within the first three, and nothing said of twins."""
    if not found:
        return "–", "–", "–"
    twins = f"{found['twins_silent']} of {found['twins']}"
    return f"{found['first']} of {found['runs']}", f"{found['in_three']} of {found['runs']}", twins


def _verdict(last: Mapping[str, Any] | None) -> str:
    if last is None:
        return "[dim]never run[/dim]"
    return "[green]held[/green]" if last["verdict"] == "held" else "[red]failed[/red]"


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:g} s"
