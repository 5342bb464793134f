"""Every kind of promise: what is read of it, and what of it is recorded."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from slo.emit.alerts import alert_rules, budget_alert
from slo.emit.promtool.series import Traffic, in_slices, series_of
from slo.emit.recording import budget_rules, window_rules
from slo.model import (
    CompositeIndicator,
    RatioIndicator,
    RawIndicator,
    Selector,
    Slices,
    ThresholdIndicator,
)
from slo.parse.query import parse_query
from slo.parse.tree import parse_catalogue, parse_tree

LIBRARY = Path(__file__).parents[2] / "golden" / "library" / "definitions"
PROMISES = {promise.name: promise for promise in parse_tree(LIBRARY)}
MINUTE = timedelta(minutes=1)


def expressions(name: str) -> dict[str, str]:
    """Record → expression, of the promise and not of its parts."""
    promise = PROMISES[name]
    rules = window_rules(promise) + budget_rules(promise)
    return {rule["record"]: rule["expr"] for rule in rules if rule["labels"]["slo"] == name}


def test_a_threshold_has_the_operator_and_limit_of_its_objective() -> None:
    promise = PROMISES["short-queues"]
    assert isinstance(promise.indicator, ThresholdIndicator)
    assert (promise.indicator.operator, promise.indicator.limit) == ("lte", Decimal(5))
    assert promise.indicator.measured.text == 'desk_queue_length{job="desk"}'
    assert promise.slices == Slices(2 * MINUTE, Decimal("0.75"))
    assert promise.job == "desk"


def test_a_threshold_is_asked_once_an_evaluation_and_what_is_no_number_is_not_good() -> None:
    rules = expressions("short-queues")
    assert rules["slo:total_events:sample"] == 'count((desk_queue_length{job="desk"}) >= -Inf)'
    assert rules["slo:bad_events:sample"].startswith('count((desk_queue_length{job="desk"}) > 5)\nor\n0 * ')
    assert '(room_temperature_celsius{job="building"}) <= 18.5' in expressions("warm-rooms")["slo:bad_events:sample"]


def test_a_slice_is_judged_as_a_whole_and_counted_at_its_own_pace() -> None:
    rules = expressions("catalogue-up")
    assert rules["slo:slice_error:ratio"].endswith("> bool 0.1")
    counted = 'count_over_time(slo:slice_error:ratio{slo="catalogue-up"}[7m:1m])'
    assert rules["slo:total_events:increase7m"] == counted
    assert "bool" not in expressions("returns-booked")["slo:slice_error:ratio"]


def test_slices_longer_than_a_window_widen_it() -> None:
    promise = PROMISES["returns-booked"]
    assert promise.slices == Slices(10 * MINUTE, None)
    assert promise.windows.base.name == "10m"
    assert promise.min_bad_events == 1
    rules = expressions("returns-booked")
    assert rules["slo:bad_events:increase3d"] == 'sum_over_time(slo:slice_error:ratio{slo="returns-booked"}[3d:10m])'


def test_a_ready_made_ratio_is_clamped_and_counts_looks() -> None:
    promise = PROMISES["scanner-reads"]
    assert promise.indicator == RawIndicator(parse_query('scanner_success_ratio{job="scanner"}'), "success")
    rules = expressions("scanner-reads")
    assert "sum(clamp((scanner_success_ratio" in rules["slo:bad_events:sample"]
    assert rules["slo:bad_events:increase1h"] == 'sum_over_time(slo:bad_events:sample{slo="scanner-reads"}[1h])'
    page = next(rule for rule in alert_rules(promise) if rule["alert"] == "ScannerReadsBurnPage")
    assert 'slo:bad_count:increase1h{slo="scanner-reads"} > 2.5' in page["expr"]
    looks = '(slo:bad_events:sample{slo="scanner-reads"} > bool 0)'
    assert rules["slo:bad_count:increase1h"] == f"sum_over_time({looks}[1h:15s])"


def test_a_ratio_of_gauges_weighs_by_the_total() -> None:
    promise = PROMISES["lamps-lit"]
    assert isinstance(promise.indicator, RatioIndicator)
    assert promise.indicator.gauge
    assert promise.counters is None
    assert expressions("lamps-lit")["slo:total_events:sample"] == 'sum(lamps_installed{job="building"} >= 0)'


def test_the_burn_rates_of_a_composites_parts_add_up_by_weight() -> None:
    promise = PROMISES["visit"]
    assert isinstance(promise.indicator, CompositeIndicator)
    assert [(part.promise.name, part.weight, part.share) for part in promise.parts] == [
        ("visit-finding", Decimal(3), Decimal("0.9")),
        ("visit-taking", Decimal(1), Decimal("0.1")),
    ]
    assert promise.objective == Decimal("0.994")  # 1 - 1 / (3 / 0.02 + 1 / 0.06)
    for part in promise.parts:  # at the whole of its budget, and the others at nothing
        assert part.share * part.promise.budget / promise.budget == part.weight
    rules = expressions("visit")
    assert '0.9 * slo:sli_error:ratio_rate1h{slo="visit-finding"}' in rules["slo:bad_events:increase1h"]
    assert rules["slo:total_events:increase1h"].startswith("group(")


def test_a_composite_of_slices_has_slices_of_its_own_and_the_strictest_target() -> None:
    promise = PROMISES["quiet-visit"]
    assert (promise.unit, promise.objective) == ("time slices", Decimal("0.99"))
    rules = expressions("quiet-visit")
    assert rules["slo:slice_error:ratio"].startswith("max(")
    assert rules["slo:bad_events:increase1h"] == 'sum_over_time(slo:slice_error:ratio{slo="quiet-visit"}[1h:5m])'


def test_a_composite_alone_alerts_and_says_which_part_is_missing() -> None:
    assert "visit-finding" not in PROMISES
    rules = alert_rules(PROMISES["visit"])
    assert {rule["labels"]["slo"] for rule in rules} == {"visit"}
    missing = rules[-1]["expr"]
    assert 'up{job="catalogue"}' in missing
    assert 'up{job="desk"}' in missing


def test_a_calendar_has_real_months_and_alerts_over_rolling_windows() -> None:
    promise = PROMISES["short-queues"]
    calendar = promise.windows.calendar
    assert calendar is not None
    assert (calendar.name, calendar.zone) == ("1M", "Europe/Berlin")
    assert [tier.long.name for tier in promise.windows.tiers] == ["1h", "6h", "1d", "3d"]
    rules = expressions("short-queues")
    assert "@ end()" in rules["slo:total_events:increase1M"]
    assert "/ 86400" in rules["slo:time_period:days"]
    assert "time() -" in rules["slo:period_error_budget_remaining:ratio"]
    assert promise.at_clock(20).windows.calendar is None, "months do not run faster"


def test_a_budget_that_is_used_up_is_told_once_there_is_a_period_to_speak_of() -> None:
    rule = budget_alert(PROMISES["lamps-lit"])
    assert rule["expr"] == (
        'slo:period_error_budget_remaining:ratio{slo="lamps-lit"} <= 0\nand\n'
        'slo:objective:ratio{slo="lamps-lit"} offset 3d'
    )
    assert rule["labels"]["tier"] == "ticket"


def test_a_data_source_is_what_a_metric_source_refers_to() -> None:
    sources = parse_catalogue(LIBRARY).of("DataSource")
    assert {source.url for source in sources.values()} == {"http://prometheus.example:9090"}


@pytest.mark.parametrize("name", sorted(PROMISES))
def test_a_rule_only_reads_what_was_recorded_before_it(name: str) -> None:
    seen = {"slo:calendar_period:begin", "slo:calendar_period:end"}
    promise = PROMISES[name]
    for rule in window_rules(promise) + budget_rules(promise):
        assert set(re.findall(r"slo:[a-z_]+:[a-z_0-9A-Z]+", rule["expr"])) <= seen, rule["record"]
        seen.add(rule["record"])


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "empty"),
        ("max(a", "no PromQL .unclosed"),
        ("max(a))", "no PromQL"),
        ("a[5m)", "no PromQL"),
        ("1 +", "no PromQL"),
        ("x offset", "expected duration"),
        ("rate(a)", "expected type matrix"),
        ("1", "the same at every moment"),
        ("a[1h:5m]", "is a range"),
        ('a{b="c}', "cannot stand"),
        ("a # and more", "cannot stand"),
        ("a[5m]", "is a range"),
        ("rate(a[$__rate_interval])", "cannot stand"),
    ],
)
def test_an_expression_must_fit_into_another(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse_query(text)


def test_an_expression_may_be_anything_else() -> None:
    assert parse_query(' histogram_quantile(0.9, sum by (le) (rate(x_bucket{a="]"}[5m]))) ').selector is None
    assert parse_query('x{a="b"}').selector == Selector("x", parse_query('x{a="b"}').selector.matchers)  # type: ignore[union-attr]
    assert parse_query("sum(x)").selector is None, "one number of many series"
    assert parse_query("of_a_newer_prometheus(x)").selector is None


def test_made_up_slices_are_bad_in_the_share_that_is_asked_for() -> None:
    course = in_slices([Traffic(20 * MINUTE, Decimal(1), Decimal("0.1"))], Slices(MINUTE, Decimal("0.9")))
    assert [index for index, traffic in enumerate(course) if traffic.error_ratio == 1] == [9, 19]
    assert sum((traffic.length for traffic in course), timedelta()) == 20 * MINUTE


def test_made_up_measurements_are_bad_in_the_share_that_is_asked_for_and_lie_at_the_limit() -> None:
    indicator = PROMISES["warm-rooms"].indicator
    series = dict(series_of(indicator, [Traffic(MINUTE, Decimal(1), Decimal("0.25"))], MINUTE / 4))
    values = sorted(text.split()[0] for name, text in series.items() if name.startswith("room"))
    assert values == ["18.5", "19.5", "19.5", "19.5"]


def test_an_expression_of_many_series_cannot_be_made_up() -> None:
    indicator = ThresholdIndicator(parse_query("max(x)"), "lt", Decimal(1))
    with pytest.raises(ValueError, match="cannot invent"):
        series_of(indicator, [], MINUTE)
