"""Where failures end: in each failing trace the deepest failing span, and what kind of failure it is.

Pure. Owns that judgement and the comparison with the window before.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from incidents.plot import emit_value
from incidents.trace import Span
from incidents.triage.deviation import Deviation, strength
from incidents.triage.rules import Rules, Topology
from incidents.triage.tree import STATUS_TAG, SYSTEM_TAG, Callees, Tree, component_of
from incidents.triage.windows import Window

_SLOW = re.compile(r"timeout|timed.?out|QueryCancel|deadline", re.IGNORECASE)
_LOCK = re.compile(r"LockNotAvailable|lock timeout|Deadlock", re.IGNORECASE)
_CUT = re.compile(r"Connect|Refused|Reset|RemoteProtocol|ReadError|WriteError|BrokenPipe|NetworkError", re.IGNORECASE)
SHORT_S = 0.2
"""A call that fails without an answer in less time was refused or cut; see peer-refuses in rules.yaml."""


@dataclass(frozen=True)
class Blame:
    """One failure that ends in a component."""

    component: str
    kind: str
    span: Span
    trace_id: str
    reason: str


def blame_deviations(
    now: list[Tree], before: list[Tree], windows: tuple[Window, Window], callees: Callees, rules: Rules
) -> list[Deviation]:
    """Failures that became more, by where they end. The trees are of failing traces."""
    rate_now, rate_before = _rate(now, windows[0]), _rate(before, windows[1])
    more = rules.spans.more_failures
    blamed = [blame for tree in now for blame in blames(tree, callees, rules.topology)]
    if not blamed or more.excess(rate_now, rate_before) < 1:
        return []
    earlier = Counter((one.component, one.kind) for tree in before for one in blames(tree, callees, rules.topology))
    places: dict[tuple[str, str], list[Blame]] = defaultdict(list)
    for blame in blamed:
        places[blame.component, blame.kind].append(blame)
    found = []
    limit = rules.spans.blame
    for (component, kind), own in places.items():
        share = len({one.trace_id for one in own}) / len(now)
        share_before = earlier[component, kind] / len(before) * rate_before / rate_now if before else 0.0
        far = limit.excess(share, share_before)
        if far >= 1 and len(own) >= 2 and component not in rules.topology.outside:
            says = f"{emit_value(share, 'ratio')} of the {len(now)} failing traces seen end in it: {_describe(own)}"
            power = strength(limit.weight, far * more.excess(rate_now, rate_before))
            found.append(Deviation(component, kind, power, "spans", says, trace_id=own[-1].trace_id))
    return found


def blames(tree: Tree, callees: Callees, topology: Topology) -> Iterator[Blame]:
    """The failing spans of a trace below which nothing fails, one for each place."""
    seen = set()
    for span in tree.spans:
        if not span.failed or any(child.failed for child in tree.children(span)):
            continue
        status = span.tags.get(STATUS_TAG, "")
        if span.kind == "client" and status[:1] == "4":
            continue  # the caller's own mistake, or what was to be found out
        component = component_of(span, tree, callees, topology)
        reason = _reason(span)
        kind = _kind(span, status, reason)
        if (component, kind) not in seen:
            seen.add((component, kind))
            yield Blame(component, kind, span, tree.trace_id, reason)


def _kind(span: Span, status: str, reason: str) -> str:
    if span.kind != "client" or status:
        return "errors"
    if _LOCK.search(reason):
        return "lock-wait"
    if _SLOW.search(reason):
        return "latency"
    if _CUT.search(reason) or (SYSTEM_TAG not in span.tags and span.duration_s < SHORT_S):
        return "refused"
    return "latency" if SYSTEM_TAG not in span.tags else "errors"


def _reason(span: Span) -> str:
    """The exception's type and message, or the status; words of others, cut short."""
    for event in span.events:
        if "exception.type" in event:
            kind = event["exception.type"].rpartition(".")[2]
            message = " ".join(event.get("exception.message", "").split())
            return f"{kind}: {message}"[:120].rstrip(": ")
    status = span.tags.get(STATUS_TAG)
    return f"HTTP {status}" if status else span.tags.get("error.type", "").rpartition(".")[2]


def _describe(own: list[Blame]) -> str:
    """The commonest span and reason, and the one instance or version that has nearly all of them."""
    operation, reason = Counter((one.span.operation, one.reason) for one in own).most_common(1)[0][0]
    text = f"{operation}{f', {reason}' if reason else ''}"
    for what, names in (("at", [one.span.instance for one in own]), ("version", [one.span.version for one in own])):
        name, number = Counter(names).most_common(1)[0]
        if what == "at" and name and number >= 0.9 * len(own) and len(own) >= 4 and name != own[0].component:
            text += f", {what} {name}"
    return text


def _rate(trees: list[Tree], window: Window) -> float:
    """Failing traces a second, over the part of the window that those found cover: a search finds only so many."""
    if not trees:
        return 0.0
    first = min(span.start_s for tree in trees for span in tree.roots)
    return (
        len(trees) / max(window.end - max(first, window.start), 1.0)
        if len(trees) >= 50
        else (len(trees) / max(window.length_s, 1.0))
    )
