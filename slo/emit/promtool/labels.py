"""Labels that selectors select, made up: the series of synthetic traffic must be those that rules ask for.

Owns trying out values for each condition on a label. Refuses to know what the series are for.
"""

from __future__ import annotations

import re

from slo.emit import promql
from slo.model import Matcher, RatioIndicator, Selector
from slo.patterns import matches

LONGEST_EXAMPLE = 100  # that a pattern is tried on


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


def uncounted_labels(indicator: RatioIndicator, labels: dict[str, str]) -> dict[str, str]:
    """Labels that the total selects and the counted events do not have: one condition of theirs is not met."""
    attempts = [labels]
    for matcher in indicator.counted.matchers:
        others = [matcher.value, *re.sub(r"\\(.)", r"\1", matcher.value).split("|"), "x"]
        attempts += [{**labels, matcher.label: other} for other in others if len(other) <= LONGEST_EXAMPLE]
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
        return matches(promql.edge_pattern(edge), value)
    if matcher.operator in ("=", "!="):
        return (value == matcher.value) == (matcher.operator == "=")
    return matches(matcher.value, value) == (matcher.operator == "=~")


def _candidates(matcher: Matcher) -> list[str]:
    """Values to try: nothing, an edge as Prometheus 3 spells it, each alternative of a pattern, the value as it is."""
    edge = promql.bucket_edge(matcher)
    if edge is not None:
        return [f"{edge.normalize():f}" if edge % 1 else f"{edge.normalize():f}.0"]
    if matcher.operator in ("!=", "!~"):
        return ["", "x"]
    if matcher.operator == "=":
        return [matcher.value]
    inner = re.sub(r"^\((?:\?:)?(.*)\)$", r"\1", matcher.value)  # (5..|429), as Sloth's users write it
    found = [*(value for part in inner.split("|") for value in _met_by(part)), matcher.value]
    return [value for value in found if len(value) <= LONGEST_EXAMPLE]


def _met_by(pattern: str) -> tuple[str, str]:
    """Texts that a simple pattern may match: wildcards and classes replaced by a digit, escapes taken literally."""
    return re.sub(r"\.[*+]?|\\d[*+]?|\[[^\]]*\][*+]?", "0", pattern), re.sub(r"\\(.)", r"\1", pattern)
