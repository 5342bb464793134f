"""What is done again and again: equal statements, equal calls, and jobs that fail however often they are tried.

Pure. Owns the comparison of such repetitions with the window before.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from statistics import mean

from incidents.plot import emit_value
from incidents.trace import Span
from incidents.triage.deviation import Deviation, strength
from incidents.triage.rules import Limit, Rules
from incidents.triage.tree import SYSTEM_TAG, Tree

ATTEMPT_TAG = "signalbox.job.attempt"
ALL_FAIL = 0.7
"""When so many first tries fail, it is not the messages."""
LEAST = 3
"""So many parents, or repeated tries, must be there before their mean says anything."""


def repetition_deviations(now: list[Tree], before: list[Tree], rules: Rules) -> list[Deviation]:
    """Statements and calls that are repeated under one span more than before."""
    found = []
    for is_call, kind, limit, what in (
        (False, "n-plus-one", rules.spans.repeated_statements, "statements"),
        (True, "retries", rules.spans.repeated_calls, "calls"),
    ):
        counts, earlier = _repeated(now, is_call), _repeated(before, is_call)
        for (service, operation), own in counts.items():
            before_s = [number for number, _, _ in earlier.get((service, operation), ())]
            deviation = _compare(limit, [n for n, _, _ in own], before_s)
            if deviation is None or service in rules.topology.outside:
                continue
            power, times, times_before = deviation
            most, trace_id, name = max(own)
            says = (
                f"{operation} sends {emit_value(times, 'count')} equal {what} ({emit_value(times_before, 'count')} "
                f"before), up to {most:g} times {name}"
            )
            found.append(Deviation(service, kind, power, "spans", says, trace_id=trace_id))
    return found


def hopeless_deviations(failing: list[Tree], now: list[Tree], rules: Rules) -> list[Deviation]:
    """Consumers whose repeated tries all fail, while first tries of other jobs do not: messages that cannot be done.

    `failing`: traces with a failure of the consumer; `now`: traces of all kinds.
    """
    found = []
    limit = rules.spans.hopeless_jobs
    for service in rules.topology.consumers:
        again = [
            (span, tree) for tree in failing for span in _tries(tree, service) if int(span.tags[ATTEMPT_TAG] or 0) > 0
        ]
        first = [span.failed for tree in now for span in _tries(tree, service) if span.tags[ATTEMPT_TAG] == "0"]
        if len(again) < LEAST or (first and sum(first) / len(first) > ALL_FAIL):
            continue
        failed = sum(span.failed for span, _ in again) / len(again)
        far = limit.excess(failed, 0.0)
        if far >= 1:
            says = f"{emit_value(failed, 'ratio')} of {len(again)} repeated tries of failed jobs fail again"
            trace_id = again[-1][1].trace_id
            # A share cannot go far beyond its limit: at the limit it is as certain as it becomes.
            power = strength(limit.weight, 16 * far)
            found.append(Deviation(service, "poison-message", power, "spans", says, trace_id=trace_id))
    return found


def _tries(tree: Tree, service: str) -> Iterator[Span]:
    return (s for s in tree.spans if s.service == service and s.kind == "consumer" and ATTEMPT_TAG in s.tags)


def _repeated(trees: Iterable[Tree], is_call: bool) -> dict[tuple[str, str], list[tuple[int, str, str]]]:
    """By service and parent's name: how often its most repeated child is there, the trace, and that child's name."""
    found: dict[tuple[str, str], list[tuple[int, str, str]]] = defaultdict(list)
    for tree in trees:
        for span in tree.spans:
            names = Counter(
                child.operation
                for child in tree.children(span)
                if child.kind == "client"
                and (SYSTEM_TAG not in child.tags) is is_call
                and child.service == span.service
            )
            if names:
                name, number = names.most_common(1)[0]
                found[span.service, span.operation].append((number, tree.trace_id, name))
    return found


def _compare(limit: Limit, now: list[int], before: list[int]) -> tuple[float, float, float] | None:
    if len(now) < LEAST:
        return None
    times, times_before = mean(now), mean(before) if before else 1.0
    far = limit.excess(times, times_before)
    return (strength(limit.weight, far), times, times_before) if far >= 1 else None
