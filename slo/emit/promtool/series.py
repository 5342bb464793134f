"""Synthetic traffic in promtool's series notation: the counters of an indicator under a course of events.

Owns the invention of label values that a selector selects, and the arithmetic of counters. Refuses to know what is
tested.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from slo.emit import promql
from slo.model import Indicator, Matcher, RatioIndicator, Selector

ZERO = Decimal(0)


@dataclass(frozen=True)
class Traffic:
    """A stretch of time: events a second, the share of bad ones, and what happens to the processes that count them."""

    length: timedelta
    events_per_s: Decimal
    error_ratio: Decimal = ZERO
    restarts: bool = False  # counters begin at zero
    total_missing: bool = False
    counted_missing: bool = False
    target_down: bool = False


@dataclass
class _Counter:
    """One series while it is written down."""

    value: Decimal = ZERO
    notation: str = "0"

    def run(self, increment: Decimal, samples: int, *, restarts: bool, missing: bool) -> None:
        if samples == 0:
            return
        if missing:
            self.notation += f" {'stale' if samples == 1 else f'stale _x{samples - 1}'}"
            return
        first = (ZERO if restarts else self.value) + increment
        self.value = first + increment * (samples - 1)
        self.notation += f" {promql.number(first)}+{promql.number(increment)}x{samples - 1}"


def series_of(indicator: Indicator, course: list[Traffic], interval: timedelta) -> list[tuple[str, str]]:
    """Series and values of the total, the counted events and `up`, one sample every `interval`.

    Raises ValueError when no labels can be invented that the selectors select.
    """
    if not isinstance(indicator, RatioIndicator) or indicator.gauge:
        raise ValueError("no series are invented for this kind of indicator")
    counted_labels, total_labels = example_labels(indicator.counted), example_labels(indicator.total)
    nested = indicator.total.metric == indicator.counted.metric and selects(indicator.total, counted_labels)
    if nested:
        total_labels = _uncounted(indicator, total_labels)
    total, counted, up = _Counter(), _Counter(), "1"
    for traffic in course:
        samples = traffic.length // interval
        events = traffic.events_per_s * Decimal(str(interval.total_seconds()))
        bad = events * traffic.error_ratio
        part = bad if indicator.counts == "bad" else events - bad
        rest = events - part if nested else events
        total.run(rest, samples, restarts=traffic.restarts, missing=traffic.total_missing)
        gone = traffic.counted_missing or (nested and traffic.total_missing)
        counted.run(part, samples, restarts=traffic.restarts, missing=gone)
        up += f" {0 if traffic.target_down else 1}x{samples - 1}"
    never_counted = all(traffic.counted_missing for traffic in course)
    jobs = sorted({labels["job"] for labels in (total_labels, counted_labels) if "job" in labels})
    return [
        (_series(indicator.total.metric, total_labels), total.notation),
        *([] if never_counted else [(_series(indicator.counted.metric, counted_labels), counted.notation)]),
        *((_series("up", {"job": job}), up) for job in jobs),
    ]


def example_labels(selector: Selector) -> dict[str, str]:
    """Labels that a selector selects. Raises ValueError when none can be found."""
    labels: dict[str, str] = {}
    for matcher in selector.matchers:
        for candidate in _candidates(matcher):
            if selects(Selector(selector.metric, (matcher,)), {matcher.label: candidate}):
                if candidate:
                    labels[matcher.label] = candidate
                break
    if not selects(selector, labels):
        raise ValueError(f"cannot invent labels that {promql.render_selector(selector)} selects")
    return labels


def _uncounted(indicator: RatioIndicator, labels: dict[str, str]) -> dict[str, str]:
    """Labels that the total selects and the counted events do not have: one condition of theirs is not met."""
    attempts = [labels]
    for matcher in indicator.counted.matchers:
        others = [matcher.value, *re.sub(r"\\(.)", r"\1", matcher.value).split("|"), "x"]
        attempts += [{**labels, matcher.label: other} for other in others]
    for attempt in attempts:
        if selects(indicator.total, attempt) and not selects(indicator.counted, attempt):
            return attempt
    raise ValueError("cannot invent an event that is in the total and not counted")


def selects(selector: Selector, labels: dict[str, str]) -> bool:
    """Whether a selector selects a series of its metric with these labels."""
    return all(_matches(matcher, labels.get(matcher.label, "")) for matcher in selector.matchers)


def _matches(matcher: Matcher, value: str) -> bool:
    edge = promql.bucket_edge(matcher)
    if edge is not None:
        return re.fullmatch(promql.edge_pattern(edge), value) is not None
    if matcher.operator in ("=", "!="):
        return (value == matcher.value) == (matcher.operator == "=")
    return (re.fullmatch(matcher.value, value) is not None) == (matcher.operator == "=~")


def _candidates(matcher: Matcher) -> list[str]:
    """Values to try: nothing, an edge as Prometheus 3 spells it, each alternative of a pattern, the value as it is."""
    edge = promql.bucket_edge(matcher)
    if edge is not None:
        return [f"{edge.normalize():f}" if edge % 1 else f"{edge.normalize():f}.0"]
    if matcher.operator in ("!=", "!~"):
        return ["", "x"]
    return [*(value for part in matcher.value.split("|") for value in _met_by(part)), matcher.value]


def _met_by(pattern: str) -> tuple[str, str]:
    """Texts that a simple pattern may match: wildcards and classes replaced by a digit, escapes taken literally."""
    return re.sub(r"\.[*+]?|\\d[*+]?|\[[^\]]*\][*+]?", "0", pattern), re.sub(r"\\(.)", r"\1", pattern)


def _series(metric: str, labels: dict[str, str]) -> str:
    inner = ",".join(f"{label}={promql.quote(value)}" for label, value in sorted(labels.items()))
    return f"{metric}{{{inner}}}"
