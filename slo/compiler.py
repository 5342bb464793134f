"""Definitions in, files out: which emitter writes which path.

Owns the paths. Everything else is parse, model and emit.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from slo.alerting import Target
from slo.emit.alertmanager import emit_alertmanager
from slo.emit.grafana.boards import emit_boards
from slo.emit.grafana.budgets import emit_budgets, emit_promise
from slo.emit.grafana.services import emit_services
from slo.emit.prometheus import emit_rules
from slo.emit.promtool import emit_rule_tests, rule_tests
from slo.emit.receivers import notification_templates
from slo.emit.scaling import emit_scaling
from slo.model import Promise
from slo.parse.boards import read_boards
from slo.parse.tree import Definitions, parse_definitions

TESTS = "prometheus/tests/"


def compile_tree(definitions: Path, *, clock: float = 1.0) -> dict[str, str]:
    """Relative path → text, the same on every run.

    `clock` divides every window, interval and waiting time; names stay. Raises slo.errors.DefinitionErrors with all
    problems of all files, and ValueError for a clock that the rules could not follow.
    """
    return compile_definitions(parse_definitions(definitions), clock=clock)


def compile_definitions(found: Definitions, *, clock: float = 1.0) -> dict[str, str]:
    """The same from definitions that are already read."""
    promises = compile_promises(found.promises, targets=found.targets, clock=clock)
    return {**promises, **emit_scaling(found.scaling, clock=clock)}


def compile_promises(
    promises: Iterable[Promise], *, targets: Iterable[Target] = (), clock: float = 1.0
) -> dict[str, str]:
    """What follows from promises, and whom to tell."""
    scaled = [promise.at_clock(clock) for promise in promises]
    return {
        "prometheus/slo-rules.yaml": emit_rules(scaled),
        "alertmanager/alertmanager.yml": emit_alertmanager(scaled, targets, clock),
        "alertmanager/templates/notification.tmpl": notification_templates(),
        "grafana/dashboards/budgets.json": emit_budgets(),
        "grafana/dashboards/slo.json": emit_promise(),
        **emit_services(scaled),
    }


def compile_tests(promises: Iterable[Promise], *, clock: float = 1.0) -> dict[str, str]:
    """promtool's tests of the compiled rules: `promtool test rules prometheus/tests/*.yaml`.

    A promise whose series cannot be invented (it asks an expression, not a metric) has none.
    """
    files: dict[str, str] = {}
    for promise in promises:
        with contextlib.suppress(ValueError):
            files |= {
                f"{TESTS}{promise.name}.{tests.name}.yaml": emit_rule_tests(
                    tests, promise, ["../slo-rules.yaml"], clock
                )
                for tests in rule_tests(promise)
            }
    return files


def compile_boards(folder: Path, promises: Iterable[Promise]) -> dict[str, str]:
    """The dashboards that people design, below the same folder. Raises slo.errors.DefinitionErrors."""
    return emit_boards(read_boards(folder), promises)
