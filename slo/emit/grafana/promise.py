"""The panels of one promise: budget, indicator, burn rates against what alerts on them, what consumed it, traces.

Owns what is shown of a promise and which queries the panels ask.
"""

from __future__ import annotations

from decimal import Decimal

from slo import burn
from slo.durations import format_duration
from slo.emit import exemplars, promql
from slo.emit.alerts import burn_alert_name, liveness_alert_name, percent
from slo.emit.grafana.boards import latency_limit
from slo.emit.grafana.budgets import DAYS_LEFT, FIRING, SLOWEST_PACE
from slo.emit.grafana.panels import Panel, Steps, Target
from slo.model import Promise, Window

SLOW = Decimal("0.99")
OBJECTIVE_LINE = "red"


def promise_panels(promise: Promise) -> list[Panel]:
    table = promise.windows
    budget = promql.recorded(promql.ERROR_BUDGET, promise)
    remaining = promql.recorded(promql.PERIOD_BUDGET_REMAINING, promise)
    slow = max((tier.long for tier in promise.urgent_tiers), key=lambda window: window.length)
    pace = f"{promql.recorded(promql.ratio_name(slow), promise)} / {budget}"
    days = promql.number(table.period_days)
    windows = [table.base, table.head, slow]
    return [
        Panel(
            "stat",
            "Budget lasts for",
            f"Days at the pace of the last {slow.name}, at most the whole period.",
            [
                Target(
                    f"clamp({days} * {remaining} / clamp_min({pace}, {SLOWEST_PACE}), 0, {days})", "left", instant=True
                )
            ],
            width=4,
            unit="d",
            steps=DAYS_LEFT,
        ),
        Panel(
            "timeseries",
            "Good events",
            f"The share of good events, against the objective. {promise.description}".strip(),
            [
                *(Target(f"1 - {promql.recorded(promql.ratio_name(w), promise)}", f"over {w.name}") for w in windows),
                Target(promql.recorded(promql.OBJECTIVE, promise), "objective"),
            ],
            width=8,
            unit="percentunit",
        ),
        Panel(
            "timeseries",
            "Burn rates and what alerts on them",
            "An alert fires while both windows of a tier are above its line. " + _tiers_in_words(promise),
            [
                Target(f"{promql.recorded(promql.ratio_name(window), promise)} / {budget}", f"over {window.name}")
                for window in table.windows
            ],
            width=8,
            steps=_burn_steps(promise),
            logarithmic=True,
        ),
        Panel(
            "timeseries",
            "Budget burn-down",
            f"What is left of {percent(float(promise.budget))} over {table.period.name}: now (legend) and before.",
            [Target(remaining, "remaining")],
            width=8,
            unit="percentunit",
            steps=((None, "transparent"), (0.0, "red")),
        ),
        _events_panel(promise, table.base),
        *_consumers(promise),
        Panel(
            "state-timeline",
            "Alerts",
            "Red while an alert of this promise fires.",
            [
                *(Target(_firing(burn_alert_name(promise, tier)), tier) for tier in promise.severities),
                *([Target(_firing(liveness_alert_name(promise)), "no data")] if promise.tells_missing_data else []),
            ],
            width=8,
            steps=FIRING,
        ),
    ]


def _events_panel(promise: Promise, base: Window) -> Panel:
    """Where exemplars are: on the duration histogram if there is one, on the counter otherwise. What is no counter has
    none, and shows what it was judged by."""
    if promise.counters is None:
        share = promql.recorded(promql.ratio_name(base), promise)
        what = f"The share of bad {promise.unit} in the last {base.name}."
        return Panel("timeseries", f"Bad {promise.unit}", what, [Target(share, "bad")], width=8, unit="percentunit")
    length = format_duration(base.length)
    selector = exemplars.histogram(promise.indicator)
    if selector is None:
        rate = f"sum(rate({promql.render_selector(exemplars.bad_selectors(promise.indicator)[0])}[{length}]))"
        return Panel(
            "timeseries",
            "Bad events a second",
            "Each dot is one traced event: click it for its trace.",
            [Target(rate, "bad", exemplar=True)],
            width=8,
            unit="cps",
        )
    which = "bad" if promise.counters.counts == "bad" else "all"
    rate = f"sum by (le) (rate({promql.render_selector(selector)}[{length}]))"
    slow = promql.number(max(promise.objective, SLOW))
    limit = latency_limit(promise)
    line: Steps = ((None, "transparent"), (limit, OBJECTIVE_LINE)) if limit is not None else ((None, "green"),)
    return Panel(
        "timeseries",
        f"Duration of {which} events",
        "Each dot is one traced event: click it for its trace."
        + (f" The line is the objective: {limit:g} s." if limit is not None else ""),
        [
            Target(f"histogram_quantile(0.5, {rate})", "median", exemplar=True),
            Target(f"histogram_quantile({slow}, {rate})", "slowest", exemplar=True),
        ],
        width=8,
        unit="s",
        steps=line,
    )


def _consumers(promise: Promise) -> list[Panel]:
    """Which routes, codes or instances the bad events of the dashboard's time range were."""
    indicator = promise.counters
    if indicator is None:
        return []
    if indicator.counts == "bad":
        labels = _telling(promise)
        bad = f"sum by ({labels}) (increase({promql.render_selector(indicator.counted)}[$__range]))"
    elif indicator.total.matcher("job") == indicator.counted.matcher("job"):
        labels = _telling(promise)
        total, good = (promql.render_selector(each) for each in (indicator.total, indicator.counted))
        bad = f"sum by ({labels}) (increase({total}[$__range]))\n- sum by ({labels}) (increase({good}[$__range]))"
    else:  # counted by two processes: no label tells which of them is which
        labels = "job"
        total, good = (promql.render_selector(each) for each in (indicator.total, indicator.counted))
        bad = f"sum(increase({total}[$__range])) - sum(increase({good}[$__range]))"
    legend = " ".join(f"{{{{{label}}}}}" for label in labels.split(", ")) if "sum by" in bad else "bad events"
    query = f"topk(10, clamp_min(\n{bad}\n, 0))\nor\nvector(0)"
    return [
        Panel(
            "bargauge",
            "What consumed it",
            "Bad events of this time range, by what tells them apart.",
            [Target(query, legend, instant=True)],
            width=8,
        )
    ]


def _telling(promise: Promise) -> str:
    """The instance, and every label of which the indicator selects several values."""
    indicator = promise.counters
    assert indicator is not None
    several = [m.label for m in indicator.total.matchers if m.operator == "=~" and m.label != "le"]
    return ", ".join(["instance", *dict.fromkeys(several)])


def _firing(alert: str) -> str:
    return f'max(ALERTS{{alertname="{alert}",alertstate="firing"}}) or vector(0)'


def _burn_steps(promise: Promise) -> tuple[tuple[float | None, str], ...]:
    colours = {"page": "red", "ticket": "orange"}
    tiers = [*promise.tiers("ticket"), *promise.tiers("page")]
    return ((None, "transparent"), *sorted((float(tier.burn), colours[tier.severity]) for tier in tiers))


def _tiers_in_words(promise: Promise) -> str:
    words = []
    for tier in promise.windows.tiers:
        if tier in promise.tiers(tier.severity):
            spent = burn.budget_spent_ratio(
                float(tier.burn), tier.long.length.total_seconds(), promise.windows.period.length.total_seconds()
            )
            words.append(
                f"{tier.severity.capitalize()}: {promql.number(tier.burn)}x over {tier.long.name} and "
                f"{tier.short.name} ({percent(spent)} of the budget spent)."
            )
    return " ".join(words)
