"""The generated rules in Prometheus' own engine: when they page, when they stop, when they are silent.

The traps that rules of this kind are known for, and what proves that ours do not fall into them. A text in quotes is a
scenario, a case of `test_rules_do_what_the_arithmetic_says` here; `test_a_scenario_notices` shows that it fails when
the rule has the fault.

| trap | proof |
|---|---|
| 1 no error series yet, | "no error series yet means no errors" |
|   or no good one | "no good series means that nothing is good" |
| 2 0/0 poisons long windows | "an hour without traffic leaves no ratio, and does not poison the windows after it" |
| 3 averages of ratios weigh night like noon | "windows weigh events, not minutes" |
| 4 no one key to inhibit on | `test_the_fast_burn_silences_the_slow_burn_of_the_same_promise_and_nothing_else` |
| 5 buckets, fast failures | `test_bucket_edges_match_as_prometheus_2_and_3_spell_them` |
|   | `test_slow_and_failed_events_of_a_latency_objective_both_have_traces` |
| 6 good exceeds total | `test_ratios_are_of_events_guarded_against_nothing_and_clamped` |
|   | "a restart that sets the counters to zero neither alerts nor loses events" |
| 7 two producers of one name | `test_no_record_has_two_producers`, `test_two_slos_may_not_share_alerts` |
|   a label `le` left over | `test_good_events_are_subtracted_from_the_total_and_no_bucket_label_is_left` |
| 8 months are not 30 days | `test_a_budget_comes_back_at_the_turn_of_the_month` |
| 9 retention too short | `test_a_prometheus_that_forgets_too_soon` |
| 10 no data shown as met | "the total vanishes while its source is up", "traffic stops" |
|   | "the source itself is down, which another alert says", `test_burn_rates_add_up` |
| 11 thresholds like 0.00099999 | `test_thresholds_have_no_float_noise`, "errors at the objective alert nobody" |
"""

from __future__ import annotations

import dataclasses
import re

import pytest
import yaml

from slo.emit.prometheus import emit_rules
from tests.conftest import ROOT
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


def test_the_proofs_of_all_traps_are_there() -> None:
    table = (__doc__ or "").partition("| trap | proof |")[2]
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    scenarios = {case.tests.scenarios[0].name for case in CASES}
    assert set(re.findall(r"^\| (\d+) ", table, re.MULTILINE)) == {str(number) for number in range(1, 12)}
    for name in re.findall(r"`(test_\w+)`", table):
        assert f"def {name}(" in tests, name
    for name in re.findall(r'"(.+?)"', table):
        assert name in scenarios, name
