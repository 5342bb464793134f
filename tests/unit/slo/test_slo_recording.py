"""Recording rules: how events are weighed, and the traps that rules of this kind are known for."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from math import ceil, floor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slo.durations import parse_duration
from slo.emit.recording import budget_rules, window_rules
from slo.parse.windows import table_for
from tests.unit.slo.example import LATENCY, PROMISE, THIRTY_DAYS, promise

RULES = window_rules(PROMISE) + budget_rules(PROMISE)


def expression(record: str, rules: list[dict[str, Any]] = RULES) -> str:
    (found,) = [rule["expr"] for rule in rules if rule["record"] == record]
    return str(found)


def test_the_names_are_those_that_sloths_users_know() -> None:
    records = {rule["record"] for rule in RULES}
    windows = ("5m", "30m", "1h", "2h", "6h", "1d", "3d", "30d")
    assert {f"slo:sli_error:ratio_rate{window}" for window in windows} <= records
    assert {
        "slo:objective:ratio",
        "slo:error_budget:ratio",
        "slo:time_period:days",
        "slo:current_burn_rate:ratio",
        "slo:period_burn_rate:ratio",
        "slo:period_error_budget_remaining:ratio",
    } <= records


def test_no_record_has_two_producers() -> None:
    records = [rule["record"] for rule in RULES]
    assert len(records) == len(set(records))


def test_every_series_says_whose_it_is() -> None:
    assert all(rule["labels"] == {"service": "shop", "slo": "shop-answers"} for rule in RULES)


def test_a_rule_only_reads_what_was_recorded_before_it() -> None:
    seen: set[str] = set()
    for rule in RULES:
        read = set(re.findall(r"slo:[a-z_]+:[a-z_0-9]+", rule["expr"]))
        assert read <= seen, rule["record"]
        seen.add(rule["record"])


@pytest.mark.parametrize(("objective", "written", "budget"), [("0.999", "0.999", "0.001"), ("0.95", "0.95", "0.05")])
def test_objective_and_budget_are_exact(objective: str, written: str, budget: str) -> None:
    rules = window_rules(promise(objective=Decimal(objective)))
    assert expression("slo:objective:ratio", rules) == f"vector({written})"
    assert expression("slo:error_budget:ratio", rules) == f"vector({budget})"


def test_missing_errors_are_zero_and_a_missing_total_is_missing() -> None:
    assert expression("slo:bad_events:increase5m") == (
        'sum(increase(requests_total{job="shop",code=~"5.."}[5m]))\n'
        "or\n"
        '0 * sum(slo:total_events:increase5m{slo="shop-answers"})'
    )
    assert not any("vector(0)" in rule["expr"] for rule in RULES)


def test_good_events_are_subtracted_from_the_total_and_no_bucket_label_is_left() -> None:
    rules = window_rules(promise(indicator=LATENCY))
    text = expression("slo:bad_events:increase5m", rules)
    assert text.startswith('sum(slo:total_events:increase5m{slo="shop-answers"}) - (')
    assert r'le=~"0\\.25"' in text
    assert "sum(increase(duration_seconds_bucket" in text


def test_ratios_are_of_events_guarded_against_nothing_and_clamped() -> None:
    for window in ("5m", "6h", "30d"):
        assert expression(f"slo:sli_error:ratio_rate{window}") == (
            f'clamp(round(slo:bad_events:increase{window}{{slo="shop-answers"}} / '
            f'(slo:total_events:increase{window}{{slo="shop-answers"}} > 0), 1e-10), 0, 1)'
        )


def test_long_windows_read_no_counters() -> None:
    for window in ("2h", "6h", "1d", "3d", "30d"):
        assert "requests_total" not in expression(f"slo:total_events:increase{window}")
        assert "requests_total" not in expression(f"slo:bad_events:increase{window}")


SUM = re.compile(r"\+ (?:([0-9.]+) \* )?\(\n +sum_over_time\([^\[]+\[(\w+):(\w+)\] offset (\w+)\)")


class Window:
    """What the rule of a summed window says about the weight of an event."""

    def __init__(self, name: str, rules: list[dict[str, Any]], head_s: float, base_s: float) -> None:
        found = SUM.search(expression(f"slo:total_events:increase{name}", rules))
        assert found is not None
        self.factor = float(found[1] or 1)
        lengths = [parse_duration(text).total_seconds() for text in found.groups()[1:]]
        self.reach_s, self.step_s, self.offset_s = lengths
        self.head_s, self.base_s = head_s, base_s

    def weight(self, age_s: float, now_s: float) -> float:
        """How much an event of some age counts: once by the head, and by every sample whose base it lies in."""
        event_s = now_s - age_s
        # PromQL takes the steps of a subquery at multiples of the step, the left end of a range excluded.
        first = max(floor((now_s - self.offset_s - self.reach_s) / self.step_s) + 1, ceil(event_s / self.step_s))
        last = min(floor((now_s - self.offset_s) / self.step_s), ceil((event_s + self.base_s) / self.step_s) - 1)
        return (1.0 if age_s < self.head_s else 0.0) + self.factor * max(0, last - first + 1)


WINDOWS = {"2h": 7200.0, "6h": 21_600.0, "1d": 86_400.0, "3d": 259_200.0}
LONGEST_STEP_S = 150.0


@given(
    window=st.sampled_from(sorted(WINDOWS)),
    share=st.floats(min_value=0, max_value=1.1),
    now_s=st.floats(min_value=3e5, max_value=4e5),
)
def test_in_a_summed_window_every_event_weighs_one(window: str, share: float, now_s: float) -> None:
    length_s, base_s, head_s = WINDOWS[window], 300.0, 3600.0
    age_s = share * length_s
    found = Window(window, RULES, head_s, base_s).weight(age_s, now_s)
    seam = head_s - base_s / 2 - LONGEST_STEP_S, head_s + base_s / 2 + LONGEST_STEP_S
    if age_s >= length_s:
        assert found == 0, "a window never looks further back than its name says"
    elif age_s < length_s - base_s - LONGEST_STEP_S and not seam[0] <= age_s <= seam[1]:
        assert found == pytest.approx(1)
    else:
        assert 0 <= found <= 2


@pytest.mark.parametrize("clock", [1, 20, 60])
@pytest.mark.parametrize("name", sorted(WINDOWS))
@pytest.mark.parametrize("phase", [0.0, 0.3, 0.8])
def test_at_the_seam_no_event_is_lost_and_at_most_a_step_counted_twice(name: str, clock: int, phase: float) -> None:
    """Up to an age a, the weights of all events add up to a: what makes detection meet the theory."""
    fast = PROMISE.at_clock(clock)
    rules = window_rules(fast)
    step = next(w.step for w in fast.windows.windows if w.name == name).total_seconds()
    head_s, base_s = 3600.0 / clock, 300.0 / clock
    now_s = 1e6 + phase * step
    fine = base_s / 200
    ages = [(index + 0.5) * fine for index in range(int((head_s + 2 * base_s) / fine))]
    window = Window(name, rules, head_s, base_s)
    total_s = sum(window.weight(age, now_s) for age in ages) * fine
    assert -fine * 2 <= total_s - (head_s + 2 * base_s) <= step + fine * 2


def test_another_period_is_compiled_the_same_way() -> None:
    rules = window_rules(promise(windows=table_for(timedelta(days=7)))) + budget_rules(
        promise(windows=table_for(timedelta(days=7)))
    )
    assert "slo:sli_error:ratio_rate1m10s" in {rule["record"] for rule in rules}
    assert expression("slo:time_period:days", rules) == "vector(7)"


def test_the_shipped_table_samples_by_divisors_of_its_base() -> None:
    for window in (*THIRTY_DAYS.windows, THIRTY_DAYS.period):
        if window.length > THIRTY_DAYS.head.length:
            assert THIRTY_DAYS.base.length % window.step == timedelta()
