"""Promises against what a service exposes: metrics, labels, values, bucket edges that are not there; too few events.

Owns which absence is an error and which only has not happened yet. Reads expositions, not rules.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from slo.emit import promql
from slo.emit.promtool.series import selects
from slo.errors import Problem
from slo.lint.exposition import Exposition, Labels
from slo.lint.queries import Asked, queries
from slo.model import Promise, Selector

FROM_THE_SCRAPE = frozenset({"job", "instance"})
COUNTED_KINDS = {"counter", "histogram", "summary", "unknown", "untyped", "gaugehistogram"}
MOST_LISTED = 8


@dataclass(frozen=True)
class Target:
    """Expositions of one scrape job (None: of whatever job), read as one, and the labels that a scrape adds."""

    job: str | None
    expositions: tuple[Exposition, ...]
    added_labels: frozenset[str] = FROM_THE_SCRAPE

    def series(self, metric: str) -> list[tuple[Labels, float]]:
        return [series for exposition in self.expositions for series in exposition.series.get(metric, ())]

    def kind(self, metric: str) -> str | None:
        return next((kind for exposition in self.expositions if (kind := exposition.kind(metric))), None)

    @property
    def sources(self) -> str:
        return ", ".join(exposition.source for exposition in self.expositions)


def lint_live(promises: Iterable[Promise], targets: Mapping[str | None, Target]) -> list[Problem]:
    """Findings about every query whose job was given; expositions that were given without a job stand for all jobs."""
    found = []
    for promise in promises:
        for asked in queries(promise):
            job = asked.selector.matcher("job")
            target = targets.get(job.value if job else None) or targets.get(None)
            if target is not None:
                found += _lint_query(promise, asked, target)
    return sorted(set(found))


def _lint_query(promise: Promise, query: Asked, target: Target) -> Iterator[Problem]:
    role, selector, counts = query

    def problem(name: str, what: str, remedy: str) -> Problem:
        return Problem(promise.at, f"{promise.name}, {role}", name, what, remedy)

    metric = selector.metric
    series, kind = target.series(metric), target.kind(metric)
    if not series:
        if kind is not None:
            yield problem("metric-without-series", f"{metric} is declared and has no series yet", "Send a request")
            return
        close = difflib.get_close_matches(metric, {name for each in target.expositions for name in each.series}, n=2)
        near = f" (did you mean {' or '.join(close)}?)" if close else ""
        yield problem("metric-missing", f"{metric} is not exposed by {target.sources}", f"Correct the name{near}")
        return
    if (
        counts
        and kind is not None
        and (kind not in COUNTED_KINDS or (kind == "summary" and not metric.endswith(("_count", "_sum"))))
    ):
        yield problem("metric-not-counter", f"{metric} is a {kind}", "Name a counter or a histogram")
        return
    asked = _without_added(selector, target, series)
    missing = [each.label for each in asked.matchers if _needs(each.label, asked) and not _has(each.label, series)]
    for label in dict.fromkeys(missing):
        known = ", ".join(sorted({name for labels, _ in series for name in labels})) or "none"
        yield problem("label-missing", f"{metric} has no label {label!r}", f"Its labels are {known}")
    if missing:
        return
    edges = list(_missing_edges(asked, series))
    for edge, nearest in edges:
        yield problem("bucket-edge-missing", f"{metric} has no bucket edge {edge}", f"Next to it lie {nearest}")
    if not edges and not any(selects(asked, labels) for labels, _ in series):
        name = "counted-unseen" if role in ("good", "bad") else "total-unseen"
        yield problem(
            name, f"no series of {metric} meets all conditions: {_unmet(asked, series)}", "Compare the values"
        )
    elif not edges and counts and role == "total":
        yield from _traffic(promise, asked, target, problem)


def _without_added(selector: Selector, target: Target, series: list[tuple[Labels, float]]) -> Selector:
    """The conditions that the service itself can meet: not those on labels that the scrape adds."""
    here = {name for labels, _ in series for name in labels}
    kept = tuple(each for each in selector.matchers if each.label in here or each.label not in target.added_labels)
    return Selector(selector.metric, kept)


def _needs(label: str, selector: Selector) -> bool:
    """Whether a series without the label is not selected."""
    return not selects(Selector(selector.metric, tuple(m for m in selector.matchers if m.label == label)), {})


def _has(label: str, series: list[tuple[Labels, float]]) -> bool:
    return any(label in labels for labels, _ in series)


def _missing_edges(selector: Selector, series: list[tuple[Labels, float]]) -> Iterator[tuple[Decimal, str]]:
    """Edges that are asked for and not there, each with the nearest that are."""
    for matcher in selector.matchers:
        edge = promql.bucket_edge(matcher)
        if edge is None:
            continue
        there = sorted({found for labels, _ in series if (found := _number(labels.get("le", ""))) is not None})
        if edge not in there:
            near = sorted(sorted(there, key=lambda other: abs(other - edge))[:4])
            yield edge, ", ".join(promql.number(each) for each in near) or "none"


def _number(text: str) -> Decimal | None:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _unmet(selector: Selector, series: list[tuple[Labels, float]]) -> str:
    """The first condition that leaves nothing, and the values that are there before it."""
    left = [labels for labels, _ in series]
    for matcher in selector.matchers:
        rest = [labels for labels in left if selects(Selector(selector.metric, (matcher,)), labels)]
        if not rest:
            seen = sorted({labels.get(matcher.label, "") for labels in left})
            more = f" and {len(seen) - MOST_LISTED} more" if len(seen) > MOST_LISTED else ""
            listed = ", ".join(repr(value[:60]) for value in seen[:MOST_LISTED])
            return f"{matcher.label}{matcher.operator}{promql.quote(matcher.value)} fails, seen are {listed}{more}"
        left = rest
    return "they never meet in one series"


def _traffic(
    promise: Promise, selector: Selector, target: Target, problem: Callable[..., Problem]
) -> Iterator[Problem]:
    """Judge the average since each process started; a saved exposition has no age and is not judged."""
    rate = 0.0
    for exposition in target.expositions:
        events = sum(value for labels, value in exposition.series.get(selector.metric, ()) if selects(selector, labels))
        if not exposition.age_s:
            return
        rate += events / exposition.age_s
    tier = min(promise.urgent_tiers, key=lambda each: each.long.length)
    expected = rate * tier.long.length.total_seconds()
    threshold = promise.threshold(tier)
    least = promise.min_bad_events
    if expected < least:
        what = f"about {expected:.0f} events in {tier.long.name}, fewer than the {least} bad ones that a page needs"
        yield problem("traffic-low", what, f"Even an outage would not page within {tier.long.name}; lower min-events")
    elif expected < 1 / threshold:
        what = (
            f"about {expected:.0f} events in {tier.long.name}: one bad event is {1 / expected:.2g} of them, above the "
            f"threshold of {promql.number(threshold)}, so min-events ({least}) alone keeps it from paging"
        )
        yield problem("traffic-low", what, "Lower the target, or add synthetic traffic")
