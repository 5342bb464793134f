"""The table of windows: as shipped, for other periods, and at other clocks."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slo import burn
from slo.errors import DefinitionErrors
from slo.model import FASTEST_CLOCK, SHORTEST_INTERVAL, SHORTEST_RATE_WINDOW, WindowTable
from slo.parse.windows import SHIPPED, load_table, table_for

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
TABLE = table_for(30 * DAY)


def tiers(table: WindowTable) -> list[tuple[str, timedelta, timedelta, Decimal]]:
    return [(tier.severity, tier.long.length, tier.short.length, tier.burn) for tier in table.tiers]


def test_thirty_days_are_the_workbooks_table() -> None:
    assert tiers(TABLE) == [
        ("page", HOUR, 5 * MINUTE, Decimal("14.4")),
        ("page", 6 * HOUR, 30 * MINUTE, Decimal("6")),
        ("ticket", DAY, 2 * HOUR, Decimal("3")),
        ("ticket", 3 * DAY, 6 * HOUR, Decimal("1")),
    ]
    assert [window.name for window in TABLE.windows] == ["5m", "30m", "1h", "2h", "6h", "1d", "3d"]
    assert (TABLE.base.name, TABLE.head.name, TABLE.period.name) == ("5m", "1h", "30d")


def spent(table: WindowTable) -> list[float]:
    period_s = table.period.length.total_seconds()
    return [
        burn.budget_spent_ratio(float(tier.burn), tier.long.length.total_seconds(), period_s) for tier in table.tiers
    ]


@given(days=st.integers(min_value=6, max_value=400))
def test_another_period_spends_the_same_budget_before_it_alerts(days: int) -> None:
    table = table_for(days * DAY)
    assert table.period.name == f"{days}d"
    assert spent(table) == pytest.approx(spent(TABLE), rel=1e-6)
    assert table.interval == TABLE.interval


def test_four_weeks_have_names_of_their_own() -> None:
    assert [window.name for window in table_for(28 * DAY).windows][:3] == ["4m40s", "28m", "56m"]


def test_a_period_whose_windows_would_be_shorter_than_four_scrapes_is_refused() -> None:
    for period in (DAY / 2, DAY / 288):  # the lengths of five minutes' windows are no whole microseconds
        with pytest.raises(ValueError, match=r"at least 1d$"):
            table_for(period)


@given(clock=st.floats(min_value=1, max_value=FASTEST_CLOCK))
def test_a_clock_shrinks_time_and_keeps_names_and_burns(clock: float) -> None:
    fast = TABLE.at_clock(clock)
    assert [window.name for window in fast.windows] == [window.name for window in TABLE.windows]
    assert [tier.burn for tier in fast.tiers] == [tier.burn for tier in TABLE.tiers]
    assert spent(fast) == pytest.approx(spent(TABLE), rel=1e-3)
    assert fast.interval >= SHORTEST_INTERVAL
    assert all(window.length >= SHORTEST_RATE_WINDOW for window in fast.windows)
    assert fast.period_days == 30


@pytest.mark.parametrize("clock", [0.5, 0, -1, FASTEST_CLOCK + 1, float("nan")])
def test_a_clock_that_rules_cannot_follow_is_refused(clock: float) -> None:
    with pytest.raises(ValueError, match="clock"):
        TABLE.at_clock(clock)


def test_a_folder_may_bring_a_table_of_its_own(tmp_path: Path) -> None:
    shipped = (SHIPPED / "30d.yaml").read_text()
    (tmp_path / "30d.yaml").write_text(shipped)
    (tmp_path / "7d.yaml").write_text(shipped.replace("period: 30d", "period: 7d").replace("30d: 5m", "7d: 5m"))
    assert [window.name for window in table_for(7 * DAY, tmp_path).windows] == [w.name for w in TABLE.windows]


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("period: 30d", "period: 1M", "period"),
        ("burn: 14.4", "burn: fast", "tiers[0].burn"),
        ("severity: ticket, long: 1d", "severity: phone, long: 1d", "tiers[2].severity"),
        ("6h: 30s, ", "", "steps"),
        ("evaluation_interval: 15s", "interval: 15s", "interval"),
    ],
)
def test_a_broken_table_is_refused_with_its_place(tmp_path: Path, old: str, new: str, field: str) -> None:
    text = (SHIPPED / "30d.yaml").read_text()
    assert text.count(old) == 1
    (tmp_path / "30d.yaml").write_text(text.replace(old, new))
    with pytest.raises(DefinitionErrors) as caught:
        load_table(tmp_path / "30d.yaml")
    assert field in {error.field for error in caught.value.errors}
