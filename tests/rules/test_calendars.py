"""Periods of the calendar in Prometheus' own engine: when they begin, and that a budget comes back with them."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from slo.calendars import Calendar
from slo.emit.prometheus import emit_rules
from slo.emit.promtool.scenario import BUSY, HOUR, MINUTE
from slo.emit.promtool.series import Traffic, series_of
from slo.emit.recording import calendar_rules
from slo.model import Promise
from tests.rules.promtool import PROMISES, Promtool

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
BERLIN = Calendar(1, "M", datetime(2024, 1, 1), "Europe/Berlin")  # noqa: DTZ001 - the zone stands beside it
CALENDARS = [
    BERLIN,
    Calendar(1, "d", datetime(2026, 1, 1, 6, 30), "America/New_York"),  # noqa: DTZ001
    Calendar(1, "w", datetime(2025, 12, 29), "Australia/Lord_Howe"),  # noqa: DTZ001 - clocks change by half an hour
    Calendar(1, "M", datetime(2025, 12, 31, 12), "Asia/Kathmandu"),  # noqa: DTZ001 - the 31st of every month
    Calendar(1, "Q", datetime(2026, 1, 1), "Etc/UTC"),  # noqa: DTZ001
    Calendar(1, "Y", datetime(2020, 2, 29), "America/Sao_Paulo"),  # noqa: DTZ001
]
# Where time is odd: turns of months, days on which clocks change (north and south), a leap day, the turn of a year.
DAYS = ["2026-03-08", "2026-03-29", "2026-04-05", "2026-10-04", "2026-10-25", "2026-11-01", "2026-12-31", "2028-02-29"]


def moments(calendar: Calendar) -> list[int]:
    """Seconds around the begin of every period near an odd day, and in the middle of it."""
    found = []
    for day in DAYS:
        noon = int(datetime.fromisoformat(f"{day}T12:00:00+00:00").timestamp())
        begin, end = bounds(calendar, noon)
        found += [begin, end - 1, noon]
    return sorted(moment for moment in set(found) if moment >= NEW_YEAR.timestamp())


def bounds(calendar: Calendar, moment: int) -> tuple[int, int]:
    """The period around a moment, found by counting."""
    index = 0
    while calendar.begin(index + 1) <= moment:
        index += 1
    return calendar.begin(index), calendar.begin(index + 1)


@pytest.mark.parametrize("calendar", CALENDARS, ids=lambda calendar: calendar.key)
def test_rules_know_when_a_period_begins_and_ends(promtool: Promtool, tmp_path: Path, calendar: Calendar) -> None:
    begin, end = (rule["expr"] for rule in calendar_rules(calendar))
    checks = []
    for moment in moments(calendar):
        for expression, expected in zip((begin, end), bounds(calendar, moment), strict=True):
            at = f"{moment - int(NEW_YEAR.timestamp())}s"
            checks.append({"expr": expression, "eval_time": at, "exp_samples": [{"labels": "{}", "value": expected}]})
    assert len(checks) >= 2 * len(DAYS)
    judge(promtool, tmp_path, NEW_YEAR, {"promql_expr_test": checks}, evaluation="1000d")


def test_outside_the_years_that_rules_know_there_is_no_period(promtool: Promtool, tmp_path: Path) -> None:
    begin, _ = (rule["expr"] for rule in calendar_rules(BERLIN))
    checks = [{"expr": begin, "eval_time": at, "exp_samples": []} for at in ("0s", "5000d")]
    start = datetime(2025, 6, 1, tzinfo=UTC)
    judge(promtool, tmp_path, start, {"promql_expr_test": checks}, evaluation="1000d")


def test_a_budget_comes_back_at_the_turn_of_the_month(promtool: Promtool, tmp_path: Path) -> None:
    """October has 31 days and an hour in Berlin, and ends at 23:00 UTC. What was bad in it is forgotten then."""
    promise = by_calendar(BERLIN)
    start, turn = datetime(2026, 10, 31, 17, tzinfo=UTC), datetime(2026, 10, 31, 23, tzinfo=UTC)
    begin, end = bounds(BERLIN, int(start.timestamp()))
    assert (end - begin, end) == (31 * 86400 + 3600, int(turn.timestamp()))
    course = [Traffic(3 * HOUR, BUSY, 4 * promise.budget), Traffic(5 * HOUR, BUSY)]
    before = turn - 28 * MINUTE
    # 4 times the budget in 3 of 5.5 h, by the share of October that has passed.
    spent = 4 * 3 / 5.5 * (before.timestamp() - begin) / (end - begin)
    series = [{"series": name, "values": values} for name, values in series_of(promise.indicator, course, MINUTE / 2)]
    name = f'{{slo="{promise.name}"}}'
    remaining = f"slo:period_error_budget_remaining:ratio{name}"
    checks = [
        check(before, start, f"abs({remaining} - {1 - spent}) < bool 0.02", 1),
        check(before, start, f"round(slo:time_period:days{name} * 24, 0.001)", 31 * 24 + 1),
        check(turn + 20 * MINUTE, start, f"count({remaining}) or vector(0)", 0),  # no data yet: not shown as met
        check(turn + 40 * MINUTE, start, remaining, 1),
        check(turn + 40 * MINUTE, start, f"slo:time_period:days{name}", 30),
        check(turn + 62 * MINUTE, start, f"round(slo:total_events:increase1M{name}, 100)", 36000),
    ]
    (tmp_path / "rules.yaml").write_text(emit_rules([promise]))
    judge(promtool, tmp_path, start, {"input_series": series, "interval": "30s", "promql_expr_test": checks}, "2m")


def test_without_a_calendar_rule_there_is_no_budget(promtool: Promtool, tmp_path: Path) -> None:
    """Seen from the other side: the sum since the begin really asks for the begin."""
    promise = by_calendar(BERLIN)
    start = datetime(2026, 10, 31, 17, tzinfo=UTC)
    series = [
        {"series": name, "values": values}
        for name, values in series_of(promise.indicator, [Traffic(HOUR, BUSY)], MINUTE / 2)
    ]
    document = yaml.safe_load(emit_rules([promise]))
    document["groups"] = [group for group in document["groups"] if group["name"] != "slo-calendars"]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(document))
    remaining = f'count(slo:period_error_budget_remaining:ratio{{slo="{promise.name}"}}) or vector(0)'
    tests = {"input_series": series, "interval": "30s", "promql_expr_test": [check(start + HOUR, start, remaining, 0)]}
    judge(promtool, tmp_path, start, tests, "5m")


def by_calendar(calendar: Calendar) -> Promise:
    promise = next(promise for promise in PROMISES if promise.name == "checkout-availability")
    return dataclasses.replace(promise, windows=promise.windows.for_calendar(calendar))


def check(at: datetime, start: datetime, expression: str, value: float) -> dict[str, Any]:
    seconds = int((at - start) / timedelta(seconds=1))
    expression = f"sum({expression})" if not expression.startswith("count") else expression
    return {"expr": expression, "eval_time": f"{seconds}s", "exp_samples": [{"labels": "{}", "value": value}]}


def judge(promtool: Promtool, folder: Path, start: datetime, tests: dict[str, Any], evaluation: str) -> None:
    rules = ["rules.yaml"] if (folder / "rules.yaml").exists() else []
    dated = {"start_timestamp": start.isoformat().replace("+00:00", "Z"), **tests}
    outcome = promtool.test(folder, [dated], evaluation, *rules)
    assert outcome.returncode == 0, outcome.stdout[-3000:] + outcome.stderr[-3000:]
