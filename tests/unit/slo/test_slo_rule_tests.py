"""Synthetic traffic for rule tests: series that the rules' own selectors select, and counters that add up."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
import yaml

from slo.emit.promtool import emit_rule_tests, rule_tests
from slo.emit.promtool.labels import example_labels, selects
from slo.emit.promtool.series import Traffic, series_of
from slo.model import RatioIndicator
from slo.parse.selector import parse_selector
from tests.unit.slo.example import LATENCY, PROMISE

SAMPLE = timedelta(seconds=15)
MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("selector", "labels"),
    [
        ('m{a="b"}', {"a": "b"}),
        ('m{a!="b"}', {}),
        ('m{a=~"x|y"}', {"a": "x"}),
        (r'm{a=~"/v1/\\{id\\}|z"}', {"a": "/v1/{id}"}),
        ('m{a=~"5.."}', {"a": "500"}),
        ('m{a=~".+"}', {"a": "0"}),
        ('m{a!=""}', {"a": "x"}),
        ('m{le="30"}', {"le": "30.0"}),
        ('m{le="0.1"}', {"le": "0.1"}),
    ],
)
def test_labels_are_invented_that_a_selector_selects(selector: str, labels: dict[str, str]) -> None:
    parsed = parse_selector(selector)
    assert example_labels(parsed) == labels
    assert selects(parsed, labels)


def test_a_pattern_that_cannot_be_met_says_so() -> None:
    with pytest.raises(ValueError, match="cannot invent labels"):
        example_labels(parse_selector('m{a=~"[0-9a-f]{8}-[0-9a-f]{4}"}'))


def test_bad_events_within_the_total_are_counted_once() -> None:
    course = [Traffic(MINUTE, Decimal(10), Decimal("0.1")), Traffic(MINUTE, Decimal(10))]
    series = dict(series_of(PROMISE.indicator, course, SAMPLE))
    assert series == {
        'requests_total{job="shop"}': "0 135+135x3 690+150x3",
        'requests_total{code="500",job="shop"}': "0 15+15x3 60+0x3",
        'up{job="shop"}': "1 1x3 1x3",
    }


def test_good_events_of_another_metric_are_counted_beside_the_total() -> None:
    series = dict(series_of(LATENCY, [Traffic(MINUTE, Decimal(10), Decimal("0.1"))], SAMPLE))
    assert series['duration_seconds_count{job="shop"}'] == "0 150+150x3"
    assert series['duration_seconds_bucket{job="shop",le="0.25",outcome="good"}'] == "0 135+135x3"


def test_restarts_begin_at_zero_and_missing_series_go_stale() -> None:
    course = [
        Traffic(MINUTE, Decimal(1)),
        Traffic(MINUTE, Decimal(1), restarts=True),
        Traffic(MINUTE, Decimal(1), total_missing=True),
        Traffic(SAMPLE, Decimal(1), target_down=True),
    ]
    series = dict(series_of(PROMISE.indicator, course, SAMPLE))
    assert series['requests_total{job="shop"}'] == "0 15+15x3 15+15x3 stale _x3 75+15x0"
    assert series['up{job="shop"}'] == "1 1x3 1x3 1x3 0x0"


def test_an_event_that_does_not_count_breaks_one_condition_of_those_that_do() -> None:
    indicator = RatioIndicator(parse_selector("m"), parse_selector('m{result!~"lost|failed"}'), "good")
    series = dict(series_of(indicator, [Traffic(MINUTE, Decimal(1), Decimal("0.2"))], SAMPLE))
    assert series == {'m{result="lost"}': "0 3+3x3", "m{}": "0 12+12x3"}


def test_events_that_cannot_be_told_apart_are_refused() -> None:
    same = parse_selector("m")
    with pytest.raises(ValueError, match="in the total and not counted"):
        series_of(RatioIndicator(same, same, "good"), [], SAMPLE)


def test_a_clock_shrinks_every_time_of_a_test_file() -> None:
    tests = next(iter(rule_tests(PROMISE)))
    slow = yaml.safe_load(emit_rule_tests(tests, PROMISE, ["r.yaml"]))
    fast = yaml.safe_load(emit_rule_tests(tests, PROMISE, ["r.yaml"], clock=20))
    assert (slow["evaluation_interval"], fast["evaluation_interval"]) == ("30s", "1s500ms")
    assert (slow["tests"][0]["interval"], fast["tests"][0]["interval"]) == ("15s", "750ms")
    assert slow["tests"][0]["input_series"] == fast["tests"][0]["input_series"]


def test_every_error_ratio_is_tried_where_it_matters() -> None:
    names = [scenario.name for tests in rule_tests(PROMISE) for scenario in tests.scenarios]
    for text in ("100% errors the page fires after 51s840ms", "10% errors", "5% errors", "2% errors", "1% errors"):
        assert any(text in name for name in names), text
