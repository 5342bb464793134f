"""Periods of the calendar: months of 28 to 31 days, days of 23 to 25 hours, one after the other without a gap."""

from __future__ import annotations

from bisect import bisect_right
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slo.calendars import FIRST_YEAR, LAST_YEAR, NOMINAL_DAYS, Calendar, nominal_length
from slo.emit.recording import calendar_rules

ZONES = ["Etc/UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "America/Sao_Paulo"]
calendars = st.builds(
    Calendar,
    st.integers(min_value=1, max_value=3),
    st.sampled_from(sorted(NOMINAL_DAYS)),
    st.datetimes(datetime(2000, 1, 1), datetime(2030, 1, 1)).map(lambda moment: moment.replace(microsecond=0)),  # noqa: DTZ001
    st.sampled_from(ZONES),
)


def berlin(count: int, unit: str, *anchor: int) -> Calendar:
    return Calendar(count, unit, datetime(*anchor), "Europe/Berlin")  # type: ignore[arg-type]  # noqa: DTZ001


def wall(calendar: Calendar, index: int) -> str:
    return calendar.wall_clock(calendar.begin(index))


def test_months_begin_at_midnight_of_their_people_summer_and_winter() -> None:
    months = berlin(1, "M", 2026, 1, 1)
    assert wall(months, 2) == "2026-03-01T00:00:00+01:00"
    assert wall(months, 3) == "2026-04-01T00:00:00+02:00"
    lengths_h = [(months.begin(index + 1) - months.begin(index)) / 3600 for index in range(12)]
    assert lengths_h == [744, 672, 743, 720, 744, 720, 744, 744, 720, 745, 720, 744]
    leap = berlin(1, "M", 2028, 1, 1)
    assert (leap.begin(2) - leap.begin(1)) / 86400 == 29


def test_a_day_on_which_the_clocks_change_has_23_or_25_hours() -> None:
    days = berlin(1, "d", 2026, 1, 1)
    hours = {wall(days, index)[:10]: (days.begin(index + 1) - days.begin(index)) / 3600 for index in range(365)}
    assert {day: length for day, length in hours.items() if length != 24} == {"2026-03-29": 23, "2026-10-25": 25}


def test_the_31st_of_a_shorter_month_is_its_last_day_and_comes_back() -> None:
    months = berlin(1, "M", 2026, 1, 31)
    assert [wall(months, index)[:10] for index in range(4)] == ["2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30"]


def test_a_begin_that_the_clocks_skip_is_an_hour_later() -> None:
    assert wall(berlin(1, "d", 2026, 3, 28, 2, 30), 1) == "2026-03-29T03:30:00+02:00"


@pytest.mark.parametrize(("name", "days"), [("1d", 1), ("2w", 14), ("1M", 30), ("1Q", 90), ("1Y", 365), ("30d", 30)])
def test_a_period_has_a_length_on_paper(name: str, days: int) -> None:
    assert nominal_length(name) == timedelta(days=days)


@settings(max_examples=40, deadline=None)
@given(calendar=calendars)
def test_runs_are_all_periods_of_all_years_without_a_gap(calendar: Calendar) -> None:
    runs = list(calendar.runs())
    ends = [run.begin_s + run.count * run.length_s for run in runs]
    assert all(end == run.begin_s for end, run in zip(ends, runs[1:], strict=False))
    assert all(one.length_s != other.length_s for one, other in pairwise(runs)), "runs are as long as can be"
    first, last = datetime(FIRST_YEAR, 1, 1, tzinfo=UTC), datetime(LAST_YEAR + 1, 1, 1, tzinfo=UTC)
    assert runs[0].begin_s <= max(first.timestamp(), calendar.begin(0))
    assert ends[-1] >= last.timestamp()


@settings(max_examples=40, deadline=None)
@given(calendar=calendars, share=st.integers(min_value=0, max_value=999_999))
def test_what_rules_compute_is_the_begin_of_the_present_period(calendar: Calendar, share: int) -> None:
    """The formula of `calendar_rules`, in Python, against counting periods one by one."""
    runs = list(calendar.runs())
    end = runs[-1].begin_s + runs[-1].count * runs[-1].length_s
    moment = runs[0].begin_s + share * (end - runs[0].begin_s) // 1_000_000

    def bound(begun: int) -> int:
        passed = (min(max((moment - run.begin_s) // run.length_s + begun, 0), run.count) for run in runs)
        return runs[0].begin_s + sum(run.length_s * count for run, count in zip(runs, passed, strict=True))

    nominal = calendar.nominal
    index = bisect_right(range(14_000 // nominal.days + 2), moment, key=calendar.begin) - 1
    assert (bound(0), bound(1)) == (calendar.begin(index), calendar.begin(index + 1))


@settings(max_examples=30, deadline=None)
@given(calendar=calendars, index=st.integers(min_value=0, max_value=60))
def test_every_period_begins_at_the_same_time_of_day(calendar: Calendar, index: int) -> None:
    begin = datetime.fromtimestamp(calendar.begin(index), ZoneInfo(calendar.zone)).replace(tzinfo=None)
    skipped = timedelta(hours=1)
    apart = abs(
        (begin - begin.replace(hour=0, minute=0, second=0))
        - timedelta(hours=calendar.anchor.hour, minutes=calendar.anchor.minute, seconds=calendar.anchor.second)
    )
    assert apart <= skipped


def test_a_table_is_written_out_with_dates_that_people_can_check() -> None:
    begin, end = calendar_rules(berlin(1, "M", 2024, 1, 1))
    march = "+ 2674800 * clamp(floor((vector(time()) - 1772319600) / 2674800), 0, 1)  # from 2026-03-01T00:00:00+01:00"
    assert march in begin["expr"]
    assert end["expr"].count("+ 1, 0,") == begin["expr"].count("clamp(")
    assert len(begin["expr"].splitlines()) < 120
