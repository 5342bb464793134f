"""promtool tests of one promise: when its rules page, when they stop, and when they must stay silent.

All times shrink with the clock, so the same scenarios prove rules of any clock factor.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from slo.durations import format_duration
from slo.emit.promtool.detection import detection_scenarios
from slo.emit.promtool.scenario import MINUTE, SAMPLE, RuleTests, Scenario, emit_rule_tests, slices_of
from slo.emit.promtool.traps import budget_scenario, liveness_scenarios, low_traffic_scenario, trap_scenarios
from slo.model import Promise

__all__ = ["RuleTests", "Scenario", "emit_rule_tests", "rule_tests"]


def rule_tests(promise: Promise) -> Iterator[RuleTests]:
    """All scenarios of a promise (at clock 1), grouped by how finely they must be evaluated."""
    detections: dict[timedelta, list[Scenario]] = {}
    for evaluation, scenario in detection_scenarios(promise):
        detections.setdefault(evaluation, []).append(scenario)
    for evaluation, scenarios in sorted(detections.items()):
        yield RuleTests(f"detection-{format_duration(evaluation)}", evaluation, tuple(scenarios))
    slices = slices_of(promise)
    pace = min(2 * MINUTE, slices.length) if slices else 2 * MINUTE  # no slice may pass unseen
    yield RuleTests("traps", pace, tuple(trap_scenarios(promise)))
    if promise.counters and not promise.slices:
        yield RuleTests("low-traffic", MINUTE, (low_traffic_scenario(promise),))
    if promise.counters and not promise.slices and not promise.windows.calendar:
        yield RuleTests("budget", 15 * MINUTE, (budget_scenario(promise),))
    yield RuleTests("liveness", 2 * SAMPLE, tuple(liveness_scenarios(promise)))
