"""prometheus/slo-rules.yaml: the rule groups of all promises.

Owns how rules are grouped and how often groups are evaluated.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from slo.durations import format_duration
from slo.emit.alerts import alert_rules, budget_alert, watchdog_rule
from slo.emit.recording import budget_rules, calendar_rules, window_rules
from slo.emit.yaml_text import emit_yaml
from slo.model import Promise

CALENDARS = "slo-calendars"
"""The group that says when periods began: read by all others."""


def emit_rules(promises: Iterable[Promise]) -> str:
    """The rule file of all promises."""
    return emit_yaml({"groups": rule_groups(promises)})


def rule_groups(promises: Iterable[Promise]) -> list[dict[str, Any]]:
    """One group a promise for everything that alerts, one for its whole period, and the watchdog."""
    groups = [{"name": "watchdog", "rules": [watchdog_rule()]}]
    promises = list(promises)
    calendars = {table.calendar.key: table.calendar for table in (p.windows for p in promises) if table.calendar}
    if calendars:
        interval = min(promise.windows.budget_interval for promise in promises)
        rules = [rule for _, calendar in sorted(calendars.items()) for rule in calendar_rules(calendar)]
        groups.append(_group(CALENDARS, interval, rules))
    for promise in promises:
        table, budget = promise.windows, budget_rules(promise)
        if not promise.policies:  # whoever says what alerts has said all
            budget.append(budget_alert(promise))
        windows_group, budget_group = group_names(promise)
        groups.append(_group(windows_group, table.interval, window_rules(promise) + alert_rules(promise)))
        groups.append(_group(budget_group, table.budget_interval, budget))
    return groups


def group_names(promise: Promise) -> tuple[str, str]:
    """The groups of one promise, in the order in which one reads what another has recorded."""
    return f"slo-{promise.name}", f"slo-{promise.name}-budget"


def _group(name: str, interval: timedelta, rules: list[dict[str, Any]]) -> dict[str, Any]:
    return {"name": name, "interval": format_duration(interval), "rules": rules}
