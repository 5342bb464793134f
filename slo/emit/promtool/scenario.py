"""A scenario: a course of traffic, and what must be true when.

Owns the times and checks of a scenario and their form in promtool's test files.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal

from slo.durations import format_duration
from slo.emit.alerts import burn_alert_name, liveness_alert_name
from slo.emit.prometheus import CALENDARS, group_names
from slo.emit.promtool.series import Traffic, in_slices, series_of
from slo.emit.yaml_text import emit_yaml
from slo.model import Promise, Slices

SAMPLE = timedelta(seconds=15)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
BUSY = Decimal(10)  # events a second
NOTHING = "vector(0)"


@dataclass
class Scenario:
    """A course of traffic, and what must be true when."""

    name: str
    course: list[Traffic]
    checks: list[tuple[timedelta, str, int]] = field(default_factory=list)
    sample: timedelta = SAMPLE

    @property
    def length(self) -> timedelta:
        return sum((traffic.length for traffic in self.course), timedelta())

    def alert(self, at: timedelta, name: str, firing: bool) -> None:
        """Expect an alert to fire, or not."""
        self.checks.append((at, f'count(ALERTS{{alertname="{name}",alertstate="firing"}}) or {NOTHING}', int(firing)))

    def holds(self, at: timedelta, condition: str) -> None:
        """Expect a PromQL condition to select one series."""
        self.checks.append((at, f"count({condition}) or {NOTHING}", 1))

    def silent(self, at: timedelta, promise: Promise) -> None:
        """Expect no alert at all."""
        self.alert(at, burn_alert_name(promise, "page"), False)
        self.alert(at, burn_alert_name(promise, "ticket"), False)
        self.alert(at, liveness_alert_name(promise), False)


def slices_of(promise: Promise) -> Slices | None:
    """The slices of time that a promise, or the longest that a part of it, is counted in."""
    found = [each.slices for each in (promise, *(part.promise for part in promise.parts)) if each.slices]
    return max(found, key=lambda slices: slices.length, default=None)


def only_counters(promise: Promise) -> bool:
    """Whether it, and every part of it, is counted by counters: then all of it stands still without traffic."""
    return all(each.counters for each in [part.promise for part in promise.parts] or [promise])


@dataclass(frozen=True)
class RuleTests:
    """Scenarios that share an evaluation interval make one file."""

    name: str
    evaluation: timedelta
    scenarios: tuple[Scenario, ...]


def emit_rule_tests(tests: RuleTests, promise: Promise, rule_files: list[str], clock: float = 1.0) -> str:
    """One promtool test file. Raises ValueError when no series can be invented that the promise's selectors select."""
    documents = []
    for scenario in tests.scenarios:
        course = in_slices(scenario.course, slices_of(promise))
        series = series_of(promise.indicator, course, scenario.sample)
        documents.append(
            {
                "name": f"{promise.name}: {scenario.name}",
                "interval": format_duration(scenario.sample / clock),
                "input_series": [{"series": name, "values": values} for name, values in series],
                "promql_expr_test": [
                    {
                        "expr": expression,
                        "eval_time": format_duration(at / clock),
                        "exp_samples": [{"labels": "{}", "value": value}],
                    }
                    for at, expression, value in scenario.checks
                ],
            }
        )
    evaluation = format_duration(tests.evaluation / clock)
    return emit_yaml(
        {
            "rule_files": rule_files,
            "evaluation_interval": evaluation,
            "group_eval_order": [CALENDARS, *group_names(promise)],  # promtool draws lots otherwise
            "tests": documents,
        }
    )
