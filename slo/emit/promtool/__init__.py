"""promtool tests of one promise: when its rules page, when they stop, and when they must stay silent.

All times shrink with the clock, so the same scenarios prove rules of any clock factor.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from slo.durations import format_duration
from slo.emit.promtool.detection import detection_scenarios
from slo.emit.promtool.scenario import MINUTE, SAMPLE, RuleTests, Scenario, emit_rule_tests
from slo.emit.promtool.traps import liveness_scenarios, low_traffic_scenario, trap_scenarios
from slo.model import Promise

__all__ = ["RuleTests", "Scenario", "emit_rule_tests", "rule_tests"]


def rule_tests(promise: Promise) -> Iterator[RuleTests]:
    """All scenarios of a promise (at clock 1), grouped by how finely they must be evaluated."""
    detections: dict[timedelta, list[Scenario]] = {}
    for evaluation, scenario in detection_scenarios(promise):
        detections.setdefault(evaluation, []).append(scenario)
    for evaluation, scenarios in sorted(detections.items()):
        yield RuleTests(f"detection-{format_duration(evaluation)}", evaluation, tuple(scenarios))
    yield RuleTests("traps", 2 * MINUTE, tuple(trap_scenarios(promise)))
    yield RuleTests("low-traffic", MINUTE, (low_traffic_scenario(promise),))
    yield RuleTests("liveness", 2 * SAMPLE, tuple(liveness_scenarios(promise)))
