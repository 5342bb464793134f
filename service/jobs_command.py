"""``python -m service jobs list|show|replay|discard``: the queue on a terminal.

Owns the words and the form of what is printed: a table for people, one JSON document with ``--json``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from service.data import jobs
from service.settings import Settings

LIMIT = 100


def add_parser(commands: Any) -> None:
    """Add the command and its own commands to the service's."""
    parser = commands.add_parser("jobs", help="look into the queue, put dead letters back")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="jobs that are not done, dead letters first")
    listing.add_argument("--state", choices=jobs.STATES, help="only those; failed: dead letters")
    listing.add_argument("--queue", help="only of this queue, for example orders.fulfil")
    listing.add_argument("--limit", type=int, default=LIMIT, help=f"how many at most (default {LIMIT})")
    actions.add_parser("show", help="one job and its history").add_argument("job", type=int)
    for name, does in (("replay", "have dead letters done after all"), ("discard", "delete dead letters for good")):
        action = actions.add_parser(name, help=does)
        action.add_argument("jobs", type=int, nargs="*", metavar="JOB")
        action.add_argument("--all", action="store_true", help="every dead letter")
        action.add_argument("--queue", help="with --all: only those of this queue")


async def run(settings: Settings, options: argparse.Namespace) -> int:
    """Do one action. 0: done. 1: some of the jobs named are not there, or are not dead letters."""
    from service.data.queue_connection import close, connect  # SQLAlchemy, which no server has to load for this

    connection = await connect(settings.database_url, "signalbox/jobs")
    try:
        if options.action == "list":
            found = await jobs.list_jobs(connection, options.state, options.queue, max(0, options.limit))
            _print(options, {"jobs": found}, _table(found) or ["No such job is waiting."])
            return 0
        if options.action == "show":
            job = await jobs.show_job(connection, options.job)
            if job is None:
                sys.stderr.write(f"service: there is no job {options.job}\n")
                return 1
            _print(options, job, _story(job))
            return 0
        wanted = await jobs.parked_jobs(connection, options.queue) if options.all else options.jobs
        done = await (jobs.replay if options.action == "replay" else jobs.discard)(connection, wanted)
        left = sorted(set(wanted) - set(done))
        said = f"{len(done)} {'put back' if options.action == 'replay' else 'deleted'}"
        _print(options, {"done": sorted(done), "left": left}, [said])
        if left:
            sys.stderr.write(f"service: no dead letters: {', '.join(map(str, left))}\n")
        return 1 if left else 0
    finally:
        await close(connection)


def _print(options: argparse.Namespace, document: Any, lines: Sequence[str]) -> None:
    text = json.dumps(document, indent=2, default=_plain) if options.json else "\n".join(lines)
    sys.stdout.write(f"{text}\n")


def _table(found: Sequence[dict[str, Any]]) -> list[str]:
    if not found:
        return []
    columns = ("id", "queue", "state", "priority", "attempts", "created", "payload")
    rows = [columns, *([str(_plain(job[column])) for column in columns] for job in found)]
    widths = [max(len(row[n]) for row in rows) for n in range(len(columns))]
    return ["  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _story(job: dict[str, Any]) -> list[str]:
    facts = [f"{name:<9} {_plain(value)}" for name, value in job.items() if name != "history"]
    events = [f"  {_plain(event['at'])}  {event['state']:<10} {event.get('error', '')}" for event in job["history"]]
    return [*facts, "history", *(line.rstrip() for line in events)]


def _plain(value: Any) -> Any:
    return value.isoformat(timespec="milliseconds") if isinstance(value, datetime) else value
