"""What happened, in order: pages and their ends, deploys, starts, faults, silences.

Owns how these become one list. Refuses to know how each is found out, and HTML.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from stack.pager.backends import BackendError, Backends
from stack.pager.changes import Change, read_changes
from stack.pager.lengths import emit_coarse
from stack.pager.page import CLOSED, Page, parse_time
from stack.pager.series import Questions

MOST = 40
_ATTACHED = ("alertname", "slo", "service")


async def read_timeline(
    backends: Backends, questions: Questions, alertmanager_url: str, start: float, end: float
) -> tuple[list[Change], list[str]]:
    """What others tell of between two moments, and who of them did not answer. The pages are the pager's own."""
    changes: list[Change] = []
    problems: list[str] = []
    for name, question in (
        ("Deploys and faults", partial(read_changes, questions, start, end)),
        ("Silences", partial(_silences, backends, alertmanager_url)),
    ):
        try:
            changes += [change for change in await question() if start <= change.at <= end]
        except BackendError as error:
            problems.append(f"{name}: {error}")
    return changes, problems


def page_changes(pages: Iterable[Page], base: str) -> list[Change]:
    """The beginnings of pages and how they ended, with links below `base`."""
    return [
        Change(
            page.starts_at,
            "page" if page.tier == "page" else "ticket",
            f"{page.annotations.get('summary') or page.alert} ({_end(page)})",
            f"{base}/pages/{page.id}",
        )
        for page in pages
    ]


def _end(page: Page) -> str:
    if page.resolved_at is None:
        return "open"
    lasted = emit_coarse(page.resolved_at - page.starts_at)
    return f"closed by the pager after {lasted}" if CLOSED in page.annotations else f"over after {lasted}"


def merge_changes(others: Iterable[Change], pages: Iterable[Change], since: float) -> tuple[list[Change], int]:
    """What happened since a moment, the newest first, and how many pages and other changes were left out. At most MOST
    of either are in: a storm of pages does not hide the deploy that began it."""
    kept, left_out = [], 0
    for changes in (others, pages):
        newest = sorted((change for change in changes if change.at >= since), key=lambda change: -change.at)
        kept += newest[:MOST]
        left_out += len(newest[MOST:])
    return sorted(kept, key=lambda change: -change.at), left_out


async def _silences(backends: Backends, alertmanager_url: str) -> list[Change]:
    if not alertmanager_url:
        return []
    try:
        return [
            change
            for silence in await backends.read_json(f"{alertmanager_url}/api/v2/silences")
            for change in _of_silence(silence)
        ]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BackendError(f"Alertmanager's answer was not understood ({error!r:.200})") from None


def _of_silence(silence: dict[str, Any]) -> list[Change]:
    matchers = {str(one["name"]): str(one["value"]) for one in silence["matchers"]}
    what = next((matchers[name] for name in _ATTACHED if name in matchers), "some alerts")
    who = f" by {silence['createdBy']}" if silence.get("createdBy") else ""
    why = f" ({silence['comment']})" if silence.get("comment") else ""
    changes = [Change(parse_time(silence["startsAt"]), "silence", f"{what} silenced{who}{why}")]
    if silence["status"]["state"] == "expired":
        changes.append(Change(parse_time(silence["endsAt"]), "silence", f"silence of {what} ended"))
    return changes
