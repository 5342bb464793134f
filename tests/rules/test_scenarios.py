"""The generated rules in Prometheus' own engine: when they page, when they stop, when they are silent."""

from __future__ import annotations

import dataclasses
import re

import pytest
import yaml

from slo.emit.prometheus import emit_rules
from tests.rules.promtool import PROMISES, Promtool, cases

CASES = cases()
SPED_UP = [
    case
    for case in CASES
    if case.promise.name == "checkout-availability"
    and any(part in str(case) for part in ("at 10%", "at 5%", "at 1%", "at the objective", "restart", "traffic"))
]


RUNS = {
    **{f"clock 1, {case}": (case, 1.0) for case in CASES},
    **{f"clock 20, {case}": (case, 20.0) for case in SPED_UP},
}


@pytest.fixture(scope="module")
def judged(promtool: Promtool, request: pytest.FixtureRequest) -> Promtool:
    """Promtool with every run under way that this session asks for, the long ones first."""
    wanted = {item.name for item in request.session.items}
    by_length = sorted(RUNS, key=lambda name: RUNS[name][0].tests.scenarios[0].length, reverse=True)
    for name in by_length:
        if f"test_rules_do_what_the_arithmetic_says[{name}]" in wanted:
            promtool.begin(name, *RUNS[name])
    return promtool


@pytest.mark.parametrize("name", RUNS, ids=list(RUNS))
def test_rules_do_what_the_arithmetic_says(judged: Promtool, name: str) -> None:
    outcome = judged.outcome(name)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


def test_promises_of_one_objective_differ_in_names_only() -> None:
    texts = []
    for promise in PROMISES:
        if str(promise.objective) != "0.99":
            continue
        alike = dataclasses.replace(promise, min_bad_events=3)  # the one number that promises choose for themselves
        _, chain, _ = yaml.safe_load(emit_rules([alike]))["groups"]
        expressions = [
            rule["expr"]
            for rule in chain["rules"]
            if re.search(r"[26]h$|[13]d$", rule.get("record", "")) or "Burn" in rule.get("alert", "")
        ]
        texts.append("\n".join(expressions).replace(promise.name, "NAME"))
    one, other = texts
    assert one == other
    assert "ratio_rate3d" in one
