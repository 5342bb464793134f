"""What changed in the running system: versions, starts of processes, faults.

Owns which series tell of changes, and when a course of them is one. Refuses to know pages and HTML.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from stack.pager.series import MOST_POINTS, Course, Questions

Kind = Literal["page", "ticket", "deploy", "start", "fault", "repair", "silence"]

FINEST_STEP_S = 2.0
# The start of every process, with its version where it tells one. While a process is being replaced there may be two.
STARTS = (
    "process_start_time_seconds * on (job, instance) group_left (service_version) "
    "topk by (job, instance) (1, signalbox_build_info) "
    "or (process_start_time_seconds unless on (job, instance) signalbox_build_info)"
)
FAULTS = "max by (fault) (signalbox_fault_active)"
_SAME_START_S = 2.0  # the clock that a process reckons its start by is no better


@dataclass(frozen=True)
class Change:
    """Something that happened, at seconds since the epoch. `link` leads on, where something does."""

    at: float
    kind: Kind
    text: str
    link: str | None = None


async def read_changes(questions: Questions, start: float, end: float) -> list[Change]:
    """Changes between two moments, the oldest first. Raises BackendError."""
    step = max((end - start) / MOST_POINTS, FINEST_STEP_S)
    starts = await questions.courses(STARTS, start, end, step)
    faults = await questions.courses(FAULTS, start, end, step)
    return sorted([*_starts(starts, start), *_switches(faults)], key=lambda change: change.at)


def _starts(courses: Iterable[Course], since: float) -> list[Change]:
    lives: dict[str, dict[float, str]] = {}
    for course in courses:
        known = lives.setdefault(course.labels.get("instance", "?"), {})
        for _, began in course.samples:
            if not any(abs(began - other) < _SAME_START_S for other in known):
                known[began] = course.labels.get("service_version", "")
    together: dict[tuple[Kind, str, int], tuple[float, list[str]]] = {}
    for instance, known in sorted(lives.items()):
        before: str | None = None
        for began, version in sorted(known.items()):
            kind, what = _life(version, before)
            before = version
            if began >= since:  # instances that are started together are one change
                together.setdefault((kind, what, round(began / 60)), (began, []))[1].append(instance)
    return [
        Change(moment, kind, f"{', '.join(dict.fromkeys(names))} {what}")
        for (kind, what, _), (moment, names) in together.items()
    ]


def _life(version: str, before: str | None) -> tuple[Kind, str]:
    if before is None:
        return "start", f"started ({version})" if version else "started"
    if version == before:
        return "start", "restarted"
    return "deploy", f"deployed: {version or 'no version'}, was {before or 'no version'}"


def _switches(courses: Iterable[Course]) -> list[Change]:
    changes: list[Change] = []
    for course in courses:
        name = course.labels.get("fault", "?")
        before = course.samples[0][1]
        for moment, value in course.samples:
            if bool(value) != bool(before):
                changes.append(
                    Change(moment, "fault" if value else "repair", f"fault {name} {'on' if value else 'off'}")
                )
            before = value
    return changes
