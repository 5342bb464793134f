"""Alert rules of a promise: burn page, burn ticket, liveness, budget exhausted; and the watchdog of the whole chain.

Owns the names, labels and annotations that Alertmanager's routes, the pager and the runbooks rely on.
"""

from __future__ import annotations

from typing import Any

from slo.durations import format_duration
from slo.emit import promql
from slo.emit.attribution import attribution, literal, recent_changes
from slo.emit.events import bad_count, presence
from slo.emit.exemplars import exemplar_query
from slo.model import Promise, Severity, Tier

Rule = dict[str, Any]

WATCHDOG = "Watchdog"
DASHBOARD_UID = "signalbox-slo"


def burn_alert_name(promise: Promise, severity: Severity) -> str:
    """`CheckoutAvailabilityBurnPage`."""
    return f"{promise.alert_prefix}Burn{severity.capitalize()}"


def liveness_alert_name(promise: Promise) -> str:
    """`CheckoutAvailabilityNoData`."""
    return f"{promise.alert_prefix}NoData"


def budget_alert_name(promise: Promise) -> str:
    """`CheckoutAvailabilityBudgetExhausted`."""
    return f"{promise.alert_prefix}BudgetExhausted"


def alert_rules(promise: Promise) -> list[Rule]:
    """The alerts that need no whole period, in the order of urgency."""
    alerts = [_burn_alert(promise, severity) for severity in promise.severities]
    return [*alerts, _liveness_alert(promise)] if promise.tells_missing_data else alerts


def budget_alert(promise: Promise) -> Rule:
    """Nothing is left of the budget: not urgent by itself, but no time to take risks.

    Asked of promises only that have been watched for the longest alerting window: the first minutes of a new one, or of
    a new Prometheus, are no period.
    """
    table, name = promise.windows, budget_alert_name(promise)
    remaining = promql.recorded(promql.PERIOD_BUDGET_REMAINING, promise)
    watched = f"{promql.recorded(promql.OBJECTIVE, promise)} offset {format_duration(table.windows[-1].length)}"
    span = f"since the {table.calendar.name} of the calendar began" if table.calendar else f"in {table.period.name}"
    return {
        "alert": name,
        "expr": f"{remaining} <= 0\nand\n{watched}",
        "for": format_duration(table.base.length),
        "labels": _labels(promise, "ticket"),
        "annotations": _annotations(
            promise,
            name,
            summary=f"{promise.title}: the error budget is used up",
            description=(
                f"More than {percent(float(promise.budget))} of the {promise.unit} were bad {span}. "
                "Until that changes, what is risky can wait."
            ),
            impact=promise.impact,
        ),
    }


def watchdog_rule() -> Rule:
    """Always firing: whoever stops hearing it knows that rules, routing or delivery are broken."""
    return {
        "alert": WATCHDOG,
        "expr": "vector(1)",
        "labels": {"tier": "watchdog", "service": "alerting", "team": "platform"},
        "annotations": {
            "summary": "Alerting is alive",
            "description": "Always fires. Its silence pages: then rules, routing or delivery are broken.",
            "impact": "While it is missing, nobody is paged for anything.",
            "runbook": runbook_path(WATCHDOG),
        },
    }


def runbook_path(alert: str) -> str:
    """Where the runbook of an alert lies in the repository."""
    return f"docs/runbooks/{alert}.md"


def percent(ratio: float) -> str:
    """0.999 → `99.9 %`."""
    return f"{ratio * 100:.10g} %"


def _burn_alert(promise: Promise, severity: Severity) -> Rule:
    name = burn_alert_name(promise, severity)
    tiers = promise.tiers(severity)
    expression = promql.join("or", (f"(\n{_tier_expression(promise, tier)}\n)" for tier in tiers))
    speed = "fast" if severity == "page" else "slowly but steadily"
    limits = " or ".join(
        f"{promql.number(tier.burn)} times the sustainable rate over {tier.long.name} and {tier.short.name}"
        for tier in tiers
    )
    after = tiers[0].alert_after
    return {
        "alert": name,
        "expr": expression,
        **({"for": format_duration(after)} if after else {}),
        "labels": _labels(promise, severity),
        "annotations": _annotations(
            promise,
            name,
            summary=f"{promise.title}: the error budget burns {speed}",
            description=(
                f"{{{{ $value | humanizePercentage }}}} of the {promise.unit} were bad in the last "
                f"{tiers[0].short.name}; {percent(float(promise.budget))} may be, over {promise.windows.period.name}. "
                f"This is more than {limits}."
            ),
            impact=promise.impact,
        )
        | attribution(promise, tiers[-1]),
    }


def _tier_expression(promise: Promise, tier: Tier) -> str:
    limit = f"{'>=' if tier.or_equal else '>'} {promql.number(promise.threshold(tier))}"
    source = f"  # {promql.number(tier.burn)} x {promise.budget}: {_source(promise)}"
    conditions = [
        f"{promql.recorded(promql.ratio_name(window), promise)} {limit}"
        for window in dict.fromkeys((tier.short, tier.long))
    ]
    conditions[0] += source
    # Half an event of room: an increase over n events reads a little more or less than n.
    least = promql.number(promise.min_bad_events - 0.5)
    enough = f"{bad_count(promise, tier.long)} > {least}  # at least {promise.min_bad_events} bad {promise.unit}"
    together = "and on ()" if promise.of_ratios else "and"
    both = "\n  and\n  ".join(conditions)  # one where the long window is the shortest there is
    return f"  {both}\n  {together}\n{promql.indent(enough)}"


def _source(promise: Promise) -> str:
    """Where the thresholds come from."""
    if promise.windows.recorded:
        return f"alert policy {', '.join(policy.name for policy in promise.policies if policy.conditions)}"
    return promise.windows.source


def _liveness_alert(promise: Promise) -> Rule:
    name = liveness_alert_name(promise)
    table = promise.windows
    missing = "do not happen, or are not counted at all" if promise.liveness == "zero" else "are not counted at all"
    return {
        "alert": name,
        "expr": missing_data(promise),
        "for": format_duration(table.liveness_for),
        "labels": _labels(promise, "page"),
        "annotations": _annotations(
            promise,
            name,
            summary=f"{promise.title}: no data while the service is up",
            description=(
                f"The events that this promise is about {missing}, although their source answers scrapes. "
                "Burn rates cannot see this: without events there is no error ratio."
            ),
            impact=f"Unknown, and possibly total. {promise.impact}".strip(),
        )
        | recent_changes(promise.urgent_tiers[0]),
    }


def missing_data(promise: Promise) -> str:
    """Selects something while there is nothing to judge although there should be."""
    if promise.parts:
        parts = (f"(\n{promql.indent(missing_data(part.promise))}\n)" for part in promise.parts)
        return promql.join("or", parts)
    expression = f"absent({presence(promise)})"
    if promise.liveness == "zero" and promise.counters:
        total = promql.render_selector(promise.counters.total)
        window = format_duration(promise.windows.liveness_window)
        expression = f"sum(increase({total}[{window}])) == 0\n  or\n{expression}"
    if promise.job:
        expression = f"(\n  {expression}\n)\nand on ()\nmax(up{{job={promql.quote(promise.job)}}}) == 1"
    return expression


def _labels(promise: Promise, severity: Severity) -> dict[str, str]:
    return {"service": promise.service.name, "slo": promise.name, "tier": severity, "team": promise.team}


def _annotations(promise: Promise, name: str, *, summary: str, description: str, impact: str) -> dict[str, str]:
    return {
        "summary": literal(summary),
        "description": description,
        "impact": literal(impact),
        "journey": literal(promise.journey),
        "budget_remaining": _ask(promql.recorded(promql.PERIOD_BUDGET_REMAINING, promise), "humanizePercentage"),
        "budget_lasts": _ask(_lasting(promise), "humanizeDuration"),
        "runbook": runbook_path(name),
        "dashboard": f"/d/{DASHBOARD_UID}?var-slo={promise.name}",
        "exemplar_query": literal(exemplar_query(promise.indicator)),
    }


def _lasting(promise: Promise) -> str:
    """Seconds until the budget is gone at the pace of the base window, whatever the clock; nothing when nothing is
    being spent."""
    remaining = promql.recorded(promql.PERIOD_BUDGET_REMAINING, promise)
    pace = promql.recorded(promql.CURRENT_BURN_RATE, promise)
    period_s = promql.number(promise.windows.period_days * 86_400)
    return f"clamp_min({remaining}, 0) * {period_s} / ({pace} > 0)"


def _ask(query: str, form: str) -> str:
    """A Prometheus template: the value of a query in words."""
    quoted = query.replace('"', "'")
    return f'{{{{ with query "{quoted}" }}}}{{{{ . | first | value | {form} }}}}{{{{ else }}}}unknown{{{{ end }}}}'
