"""Which series carry exemplars of bad events: what a page asks Prometheus for, to open on a trace.

Owns the logic "bad = counted in the total and not good", on selectors: one selector for each condition that a good
event meets and the total does not ask for. A latency objective thus yields the buckets beyond its edge. Exemplars sit
on the buckets of a histogram, not on its count, so a `_count` is asked for as `_bucket`.
"""

from __future__ import annotations

import re

from slo.emit import promql
from slo.model import CompositeIndicator, Indicator, Matcher, RatioIndicator, Selector

_NEGATION = {"=": "!=", "!=": "=", "=~": "!~", "!~": "=~"}
_SUFFIX = re.compile(r"_(count|sum|bucket)$")


def exemplar_query(indicator: Indicator) -> str:
    """A PromQL expression whose selectors name the bad series, for /api/v1/query_exemplars. Empty where nothing is
    counted that could carry exemplars."""
    return " or ".join(promql.render_selector(selector) for selector in bad_selectors(indicator))


def bad_selectors(indicator: Indicator) -> list[Selector]:
    """Selectors of bad events. Only counters have any."""
    if isinstance(indicator, CompositeIndicator):
        return [selector for part in indicator.parts for selector in bad_selectors(part.promise.indicator)]
    if not isinstance(indicator, RatioIndicator) or indicator.gauge:
        return []
    counted, around = _on_buckets(indicator.counted), _surroundings(indicator)
    if indicator.counts == "bad":
        return [counted]
    conditions = [matcher for matcher in counted.matchers if matcher not in around.matchers]
    return [Selector(around.metric, (*around.matchers, _negated(condition))) for condition in conditions] or [around]


def histogram(indicator: Indicator) -> Selector | None:
    """All buckets of the events that a person wants to see, with their exemplars; None when there is no histogram."""
    if not isinstance(indicator, RatioIndicator):
        return None
    selector = _on_buckets(indicator.counted) if indicator.counts == "bad" else _surroundings(indicator)
    return selector if selector.metric.endswith("_bucket") else None


def _surroundings(indicator: RatioIndicator) -> Selector:
    """The good events among all events. Where another process counts the total, only the good one's buckets can tell
    fast from slow."""
    counted, total = _on_buckets(indicator.counted), _on_buckets(indicator.total)
    if counted.metric == total.metric:
        return total
    return Selector(counted.metric, tuple(m for m in counted.matchers if promql.bucket_edge(m) is None))


def _negated(matcher: Matcher) -> Matcher:
    edge = promql.bucket_edge(matcher)
    if edge is None:
        return Matcher(matcher.label, _NEGATION[matcher.operator], matcher.value)
    return Matcher("le", "=~", promql.beyond_edge_pattern(edge))


def _on_buckets(selector: Selector) -> Selector:
    return Selector(_SUFFIX.sub("_bucket", selector.metric), selector.matchers)
