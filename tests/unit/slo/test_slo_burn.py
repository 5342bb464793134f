"""The arithmetic of burn rates, against the figures of the SRE workbook and against its own definition."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slo import burn
from slo.burn import BurnWindow

HOUR = 3600.0
DAY = 24 * HOUR
PERIOD = 30 * DAY
AT_99_9 = [
    BurnWindow(HOUR, 0.0144),
    BurnWindow(6 * HOUR, 0.006),
    BurnWindow(DAY, 0.003),
    BurnWindow(3 * DAY, 0.001),
]

ratios = st.floats(min_value=1e-6, max_value=1.0)
windows = st.builds(BurnWindow, st.floats(min_value=60, max_value=10 * DAY), st.floats(min_value=1e-6, max_value=0.99))
objectives = st.decimals(min_value="0.001", max_value="0.99999", places=5)


@pytest.mark.parametrize(
    ("error_ratio", "expected_s"),
    [
        (1, 51.84),
        (0.1, 518.4),
        (0.05, 1036.8),
        (0.02, 2592),
        (0.01, 3.6 * HOUR),
        (0.005, 14.4 * HOUR),
        (0.002, 36 * HOUR),
    ],
)
def test_detection_at_three_nines_is_what_the_workbook_says(error_ratio: float, expected_s: float) -> None:
    assert burn.earliest_detection_s(AT_99_9, error_ratio) == pytest.approx(expected_s)


@pytest.mark.parametrize("error_ratio", [0.001, 0.0005, 0.0])
def test_errors_within_the_objective_are_never_detected(error_ratio: float) -> None:
    assert burn.earliest_detection_s(AT_99_9, error_ratio) is None


@pytest.mark.parametrize(
    ("factor", "window_s", "spent"), [(14.4, HOUR, 0.02), (6, 6 * HOUR, 0.05), (3, DAY, 0.1), (1, 3 * DAY, 0.1)]
)
def test_each_tier_fires_with_its_share_of_the_budget_spent(factor: float, window_s: float, spent: float) -> None:
    assert burn.budget_spent_ratio(factor, window_s, PERIOD) == pytest.approx(spent)


@given(window=windows, error_ratio=ratios, base=st.floats(min_value=0, max_value=0.5))
def test_at_detection_the_window_averages_just_the_threshold(
    window: BurnWindow, error_ratio: float, base: float
) -> None:
    time_s = burn.detection_time_s(window, error_ratio, base)
    if base > window.threshold:
        assert time_s == 0
    elif error_ratio <= window.threshold:
        assert time_s is None
    else:
        assert time_s is not None
        assert 0 <= time_s <= window.long_s * (1 + 1e-9)
        average = (error_ratio * time_s + base * (window.long_s - time_s)) / window.long_s
        assert average == pytest.approx(window.threshold, rel=1e-6)


@given(window=windows, one=ratios, other=ratios)
def test_worse_errors_are_never_detected_later(window: BurnWindow, one: float, other: float) -> None:
    slow = burn.detection_time_s(window, min(one, other))
    fast = burn.detection_time_s(window, max(one, other))
    assert slow is None or (fast is not None and fast <= slow)


@given(tiers=st.lists(windows, min_size=1, max_size=4), error_ratio=ratios)
def test_several_tiers_are_as_fast_as_the_fastest(tiers: list[BurnWindow], error_ratio: float) -> None:
    times = [time for tier in tiers if (time := burn.detection_time_s(tier, error_ratio)) is not None]
    assert burn.earliest_detection_s(tiers, error_ratio) == (min(times) if times else None)


@given(short_s=st.floats(min_value=1, max_value=DAY), threshold=ratios, error_ratio=ratios)
def test_reset_never_takes_longer_than_the_short_window(short_s: float, threshold: float, error_ratio: float) -> None:
    time_s = burn.reset_time_s(short_s, threshold, error_ratio)
    assert 0 <= time_s <= short_s
    if error_ratio > threshold:
        left = error_ratio * (short_s - time_s) / short_s  # what is still in the window then
        assert left == pytest.approx(threshold, rel=1e-6, abs=1e-9)


@given(objective=objectives)
def test_budget_and_threshold_are_exact_and_print_as_written(objective: Decimal) -> None:
    budget = burn.error_budget(objective)
    assert budget + objective == 1
    threshold = burn.threshold(Decimal("14.4"), budget)
    assert threshold == Decimal("14.4") * budget
    assert "E" not in str(threshold)
    assert Decimal(str(float(threshold))) == threshold  # what a rule says is what is meant


def test_thresholds_have_no_float_noise() -> None:
    assert str(burn.error_budget(Decimal("0.999"))) == "0.001"
    assert str(burn.threshold(Decimal("14.4"), Decimal("0.001"))) == "0.0144"
    assert str(burn.threshold(Decimal("6"), Decimal("0.05"))) == "0.3"


@pytest.mark.parametrize(
    ("factor", "last_dead", "first_live"),
    [("14.4", "0.9305", "0.9306"), ("6", "0.8333", "0.8334"), ("3", "0.6666", "0.6667")],
)
def test_a_tier_beyond_one_hundred_percent_is_unreachable(factor: str, last_dead: str, first_live: str) -> None:
    assert not burn.reachable(Decimal(factor), burn.error_budget(Decimal(last_dead)))
    assert burn.reachable(Decimal(factor), burn.error_budget(Decimal(first_live)))


def test_burn_rates_do_not_see_an_outage_that_stops_the_traffic() -> None:
    tier = AT_99_9[0]
    assert burn.traffic_loss_detection_s(tier, 1.0, 1.0) == pytest.approx(51.84)
    assert burn.traffic_loss_detection_s(tier, 1.0, 0.0) == pytest.approx(tier.long_s)


def test_one_error_pages_while_fewer_than_69_events_fall_in_the_hour() -> None:
    assert burn.events_that_dilute_one_error(0.0144) == pytest.approx(69.4, abs=0.1)
