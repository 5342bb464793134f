"""The scenarios are worth something: each mistake that rules of this kind are known for makes one of them fail."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.rules.promtool import Promtool, cases

OF_KINDS = ("catalogue-up", "short-queues", "scanner-reads", "lamps-lit", "returns-booked", "visit")
CASES = {str(case): case for case in cases() if case.promise.name in ("checkout-availability", *OF_KINDS)}


def change(pattern: str, replacement: str) -> Callable[[str], str]:
    """Rules with a change that must have found something to change."""

    def mutate(rules: str) -> str:
        mutated, count = re.subn(pattern, replacement, rules)
        assert count, f"nothing in the rules matches {pattern}"
        return mutated

    return mutate


MUTANTS = [
    ("the threshold is ten times too high", "at 10% errors", change(r"> 0\.0144", "> 0.144")),
    ("the long window is not asked", "at 10% errors", change(r"ratio_rate1h(\{.*\}) > 0\.0144", r"ratio_rate5m\1 > 0")),
    ("the short window is not asked", "at 10% errors", change(r"ratio_rate5m(\{.*\}) > 0\.01", r"ratio_rate1h\1 > 0")),
    ("the counters are read over too short a time", "at 10% errors", change(r"\[1h\]", "[30m]")),
    ("the events of the last hour are counted twice", "at 1% errors", change(r"offset 57m15s", "offset 0s")),
    ("the events of the second hour are left out", "at 1% errors", change(r"offset 57m15s", "offset 2h")),
    ("ratios are averaged", "windows weigh events", change(
        r"clamp\(round\(slo:bad_events:increase6h.*1e-10\), 0, 1\)",
        'avg_over_time(slo:sli_error:ratio_rate5m{slo="checkout-availability"}[6h])',
    )),
    ("missing errors are not zero", "no error series yet", change(r"or\n +0 \* sum\(.*\)", "or vector(1) < 0")),
    ("nothing divided by nothing", "an hour without traffic", change(r" > 0\), 1e-10", "), 1e-10")),
    ("no traffic is no errors", "an hour without traffic", change(r"0, 1\)\n", "0, 1) or vector(0)\n")),
    ("a restart is a change of sign", "a restart", change(r"increase\(http", "delta(http")),
    ("at the objective is beyond it", "errors at the objective", change(r"> 0\.001", ">= 0.001")),
    ("float noise is taken for errors", "errors at the objective", change(r"round\((.*), 1e-10\)", r"(\1)")),
    ("one error pages", "one error does not page", change(r"> 2\.5", "> 0")),
    ("absence is not noticed", "the total vanishes", change(r"absent\(sum", "absent(count_values('x', ")),
    ("standstill is not noticed", "traffic stops", change(r"\)\) == 0\n", ")) == -1\n")),
    ("a dead target is taken for missing data", "the source itself is down", change(r"== 1", "< 2")),
    ("a budget is said to be used up at once", "a budget that is used up", change(r" offset 3d", "")),
    ("a budget may be used up many times", "a budget that is used up", change(r"<= 0\n", "<= -100\n")),
    ("a slice at its target is bad", "catalogue-up: a slice at its target", change(r"> bool", ">= bool")),
    ("a slice is as bad as its events", "catalogue-up: a slice at its target", change(r" > bool 0\.1", "")),
    ("a slice without events is good", "catalogue-up: an hour without", change(r"(slice\{.*\}) > 0\)", r"\1)")),
    ("slices weigh by their events", "returns-booked: windows weigh slices", change(
        r"count_over_time\(slo:slice_error:ratio(.*)\[6h:10m", r"sum_over_time(slo:total_events:slice\1[6h:10m",
    )),
    ("the limit itself is bad", "short-queues: errors at the objective", change(r"\) > 5", ") >= 5")),
    ("a threshold is turned round", "short-queues: errors at the objective", change(r"\) > 5", ") <= 5")),
    ("what is no number is a look", "scanner-reads: an hour without", change(r" >= -Inf", "")),
    ("looks are not zero-filled", "short-queues: an hour without", change(r"or\n +0 \* sum\(slo:total_events:s.*", "")),
    ("a success is a failure", "scanner-reads: errors at the objective", change(r"sum\(slo:.*\) - sum", "sum")),
    ("every look at gauges weighs the same", "lamps-lit: windows weigh events", change(
        r"sum\(lamps_installed(.*) >= 0\)", r"10 * count(lamps_installed\1)",
    )),
    ("a composite has lost a part", "visit: the total vanishes", change(r"absent\(.*\)\n", "vector(1) < 0\n")),
]  # fmt: skip


@pytest.fixture(scope="module")
def judged(promtool: Promtool, request: pytest.FixtureRequest) -> Promtool:
    """Promtool with every mutant under way that this session asks for."""
    wanted = {item.name for item in request.session.items}
    for mistake, scenario, mutate in MUTANTS:
        if f"test_a_scenario_notices[{mistake}]" in wanted:
            promise, _, part = scenario.rpartition(": ")
            of = promise or "checkout-availability"
            (case,) = [case for name, case in CASES.items() if name.startswith(of) and part in name]
            promtool.begin(mistake, case, mutate=mutate)
    return promtool


@pytest.mark.parametrize("mistake", [mutant[0] for mutant in MUTANTS])
def test_a_scenario_notices(judged: Promtool, mistake: str) -> None:
    outcome = judged.outcome(mistake)
    said = outcome.stdout + outcome.stderr
    assert outcome.returncode != 0, f"no scenario notices when {mistake}"
    assert "FAILED" in said
    assert "error parsing" not in said, "the mutant is no rule at all"
