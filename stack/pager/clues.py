"""What a reader is told of the evidence: one line each, and the question behind it.

Owns the words. Refuses to know HTML, and how the evidence was found. What the pager has not asked yet, or could not, is
told as the alert itself told it when it was sent.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from stack.pager.evidence import Dependency, Evidence, Share
from stack.pager.page import Page

ALIKE = 2.0  # the worst stands out when it is this many times as bad as the next


@dataclass(frozen=True)
class Clue:
    """A line of the page. `query` is the PromQL that it comes from, where it comes from one."""

    name: str
    text: str
    query: str | None = None


def build_clues(page: Page, evidence: Evidence | None) -> list[Clue]:
    """Where it is broken and why, in the order of a search: place, words, dependency, what changed."""
    found = {clue.name: clue for clue in _sent(page)}
    if evidence:
        found |= {clue.name: clue for clue in _enquired(page, evidence)}
    return [found[name] for name in ORDER if name in found]


ORDER = (
    "Worst route",
    "Worst version",
    "Worst instance",
    "Top exception",
    "In its trace",
    "Under suspicion",
    "Changed",
)


def _sent(page: Page) -> Iterator[Clue]:
    """What Prometheus wrote into the alert."""
    told = {
        "Worst route": "worst_route",
        "Worst version": "worst_version",
        "Worst instance": "worst_instance",
        "Under suspicion": "suspect",
        "Changed": "changed",
    }
    for name, annotation in told.items():
        if text := page.annotations.get(annotation, "").strip():
            yield Clue(name, text)


def _enquired(page: Page, evidence: Evidence) -> Iterator[Clue]:
    asked = page.annotations.get
    if evidence.routes and (total := sum(share.value for share in evidence.routes)) > 0:
        worst = evidence.routes[0]
        rest = f", {emit_share(worst.value / total)} of all bad ones" if len(evidence.routes) > 1 else ""
        yield Clue("Worst route", f"{worst.name}: {worst.value:.0f} bad of late{rest}", asked("route_query"))
    for name, shares, query in (
        ("Worst version", evidence.versions, "version_query"),
        ("Worst instance", evidence.instances, "instance_query"),
    ):
        if shares:
            yield Clue(name, _compared(shares), asked(query))
    if evidence.exceptions:
        top, *others = evidence.exceptions
        new = ", not seen in the hour before" if top.is_new else ""
        more = f"; then {', '.join(one.type for one in others[:2])}" if others else ""
        yield Clue("Top exception", f"{top.type} in {top.service}, {_times(top.count)}{new}{more}")
    if evidence.failure:
        yield Clue("In its trace", evidence.failure)
    if evidence.dependencies:
        text = "; ".join(_suspicion(one) for one in evidence.dependencies[:3])
        yield Clue("Under suspicion", text, asked("failing_query"))


def emit_share(ratio: float) -> str:
    """A ratio as a person reads it: `31 %`, `0.4 %`, `0 %`."""
    percent = ratio * 100
    return (
        f"{percent:.0f} %"
        if abs(percent) >= 10 or not percent
        else f"{percent:.1f} %"
        if abs(percent) >= 0.1
        else "< 0.1 %"
    )


def emit_left(remaining: float) -> str:
    """What is left of a budget: `61 %`, `-40 %`; far below nothing, how many budgets were spent."""
    return f"{1 - remaining:,.0f} budgets spent" if remaining <= -1 else emit_share(remaining)


def _compared(shares: tuple[Share, ...]) -> str:
    worst, *others = shares
    if not worst.value:
        return f"no bad ones of late ({', '.join(share.name for share in shares[:2])})"
    text = f"{worst.name}: {emit_share(worst.value)} bad"
    if not others:
        return f"{text} (the only one)"
    if worst.value < ALIKE * others[0].value:
        return f"{text}; all are alike ({', '.join(share.name for share in others)})"
    return f"{text}, while {', '.join(f'{share.name} has {emit_share(share.value)}' for share in others)}"


def _suspicion(dependency: Dependency) -> str:
    parts = []
    if dependency.fails:
        before = dependency.failing_before
        usual = "" if before is None else f" ({emit_share(before)} before)"
        parts.append(f"{emit_share(dependency.failing)} of the calls fail{usual}")
    if dependency.slowdown and dependency.seconds and dependency.seconds_before:
        took, usually = dependency.seconds * 1e3, dependency.seconds_before * 1e3
        parts.append(f"{took:.0f} ms a call, {dependency.slowdown:.1f} times as slow as before ({usually:.1f} ms)")
    past = " (earlier in this page)" if dependency.is_past else ""
    return f"{dependency.name}: {' and '.join(parts)}{past}"


def _times(count: float) -> str:
    return "once" if round(count) == 1 else f"{count:.0f} times"
