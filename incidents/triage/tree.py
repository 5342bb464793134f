"""Traces as trees whose every span belongs to a component: the callee, for a call that leaves its process.

Owns that attribution. A call that was answered says itself who answered; for one that was not, the answered calls of
the same name from the same service tell. Refuses to judge.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from incidents.trace import Span
from incidents.triage.rules import Topology

POOL_TAG = "db.client.connection.pool.name"
SYSTEM_TAG = "db.system.name"
STATUS_TAG = "http.response.status_code"

Callees = dict[tuple[str, str], str]
"""The service that answers, by the calling service and the name of the call."""


class Tree:
    """One trace. Built once, asked often."""

    def __init__(self, spans: list[Span]) -> None:
        self.spans = spans
        self.trace_id = spans[0].trace_id if spans else ""
        by_id = {span.span_id: span for span in spans}
        self._children: dict[str, list[Span]] = defaultdict(list)
        self.roots = []
        for span in spans:
            if span.parent_id and span.parent_id in by_id and span.parent_id != span.span_id:
                self._children[span.parent_id].append(span)
            else:
                self.roots.append(span)

    def children(self, span: Span) -> list[Span]:
        return self._children.get(span.span_id, [])

    def answering(self, span: Span) -> Span | None:
        """The server's span of a call that was answered by something that sends spans."""
        return next((child for child in self.children(span) if child.service != span.service), None)

    def entrance(self) -> str:
        """What was asked: the name of the innermost server span on the way in that names a route."""
        named = [span.operation for span in self.spans if span.kind == "server" and "http.route" in span.tags]
        return named[0] if named else (self.roots[0].operation if self.roots else "")

    def self_time_s(self, span: Span) -> float:
        """Its duration less the time in which a child was at work; jobs that go on later are no part of it."""
        covered, reach = 0.0, span.start_s
        end = span.start_s + span.duration_s
        for child in sorted(self.children(span), key=lambda one: one.start_s):
            if child.kind == "consumer":
                continue
            begins, ends = max(child.start_s, reach), min(child.start_s + child.duration_s, end)
            if ends > begins:
                covered += ends - begins
                reach = ends
        return max(span.duration_s - covered, 0.0)


def learn_callees(trees: Iterable[Tree]) -> Callees:
    """Who answers which calls, by the majority of those that were answered."""
    votes: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for tree in trees:
        for span in tree.spans:
            if span.kind == "client" and (answer := tree.answering(span)):
                votes[span.service, span.operation][answer.service] += 1
    return {call: counted.most_common(1)[0][0] for call, counted in votes.items()}


def component_of(span: Span, tree: Tree, callees: Callees, topology: Topology) -> str:
    """The component at whose expense a span's own time is, and its failure when nothing below it failed."""
    if span.kind != "client":
        return topology.component(span.service)
    if SYSTEM_TAG in span.tags:
        return topology.component(span.tags.get(POOL_TAG) or span.tags[SYSTEM_TAG])
    answer = tree.answering(span)
    callee = answer.service if answer else callees.get((span.service, span.operation))
    return topology.component(callee or f"{span.service}>http")
