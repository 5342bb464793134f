"""The first questions of a runbook, each with the query that answers it.

Owns which questions a promise's alerts raise. Refuses to know how a runbook looks.
"""

from __future__ import annotations

from slo.durations import format_duration
from slo.emit import promql
from slo.emit.exemplars import exemplar_query
from slo.model import Promise, RatioIndicator, Tier

Question = tuple[str, str]
"""In words, and in PromQL."""


def burn_queries(promise: Promise, tiers: tuple[Tier, ...]) -> list[Question]:
    """Of a burn alert: how bad, how much is left, where, and which traces."""
    base = format_duration(promise.windows.base.length)
    windows = "|".join(dict.fromkeys(promql.ratio_name(w) for tier in tiers for w in (tier.short, tier.long)))
    queries = [
        ("How bad is it, and is it getting better?", f'{{__name__=~"{windows}",slo="{promise.name}"}}'),
        ("How much budget is left (1 is all, 0 none)?", promql.recorded(promql.PERIOD_BUDGET_REMAINING, promise)),
    ]
    if promise.counters:
        queries += _counter_queries(promise.counters, base)
    return queries


def budget_queries(promise: Promise) -> list[Question]:
    """Of a spent budget: how far below zero, whether it still burns, and when it went."""
    spent = promql.recorded(promql.bad_name(promise.windows.head), promise)
    return [
        ("How far below zero is it, and does it recover?", promql.recorded(promql.PERIOD_BUDGET_REMAINING, promise)),
        ("Does it still burn (above 1)?", promql.recorded(promql.CURRENT_BURN_RATE, promise)),
        (f"When was it spent (bad {promise.unit} a window)?", spent),
    ]


def liveness_queries(promise: Promise) -> list[Question]:
    """Of missing data: whether anything is counted, whether the process answers, since when."""
    window = format_duration(promise.windows.liveness_window)
    queries = []
    if promise.counters:
        total = promql.render_selector(promise.counters.total)
        queries.append(("Is anything counted?", f"sum by (instance) (increase({total}[{window}]))"))
    if promise.job:
        queries.append(("Does the process answer?", f"up{{job={promql.quote(promise.job)}}}"))
    queries.append(("Since when?", f"{promql.recorded(promql.total_name(promise.windows.base), promise)}"))
    return queries


def _counter_queries(indicator: RatioIndicator, base: str) -> list[Question]:
    labels = ", ".join(_telling_labels(indicator))
    total = promql.render_selector(indicator.total)
    counted = promql.render_selector(indicator.counted)
    queries = []
    if indicator.counts == "bad":
        queries.append(("Where do the bad events happen?", f"topk(10, increase({counted}[{base}]) > 0)"))
    elif indicator.total.matcher("job") == indicator.counted.matcher("job"):
        where = f"1 - sum by ({labels}) (rate({counted}[{base}]))\n    / sum by ({labels}) (rate({total}[{base}]))"
        queries.append(("Where are they bad (share of bad events)?", where))
    else:
        queries.append(("How many should there be?", f"sum by ({labels}) (increase({total}[{base}]))"))
        queries.append(("How many are good?", f"sum by ({labels}) (increase({counted}[{base}]))"))
    queries.append(("Which series have traces of bad events (exemplars)?", exemplar_query(indicator)))
    return queries


def _telling_labels(indicator: RatioIndicator) -> list[str]:
    """The instance, and every label of which the total selects several values."""
    several = [m.label for m in indicator.total.matchers if m.operator == "=~" and m.label != "le"]
    return ["instance", *dict.fromkeys(several)]
