"""`slo simulate` against the arithmetic; tests/rules/test_simulation.py holds it to a real Prometheus."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from typer.testing import CliRunner, Result

from slo.alerting import AlertPolicy, Condition, table_of
from slo.cli import app
from slo.errors import NOWHERE
from slo.quantities import Step
from slo.reaction import react, slowest_reset_s
from slo.simulate.outcome import NO_DATA, Outcome, simulate
from tests.unit.slo.example import LATENCY, THIRTY_DAYS, promise

HOUR = timedelta(hours=1)
STEADY = [Step(None, 10.0)]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["simulate", *arguments])


def constant(error_ratio: float, duration: timedelta, history: timedelta = 2 * HOUR, **changes: object) -> Outcome:
    return judge([Step(None, error_ratio)], STEADY, duration, history, **changes)


def judge(
    errors: list[Step], traffic: list[Step], duration: timedelta, history: timedelta = 2 * HOUR, **changes: object
) -> Outcome:
    return simulate(promise(**changes), errors, traffic, duration, history=history, quiet=HOUR / 2)


@pytest.mark.parametrize("error_ratio", [1.0, 0.25, 0.05])
def test_a_page_comes_when_the_arithmetic_says_and_a_little_later(error_ratio: float) -> None:
    theory = react(promise(), "page", error_ratio)
    page = constant(error_ratio, HOUR / 3, history=6 * HOUR).first("page")
    assert theory is not None
    assert page is not None
    assert theory.after_s <= page.fires_s <= theory.after_s + 30
    assert page.spent_ratio == pytest.approx(page.fires_s * error_ratio / 2592)


def test_it_stops_when_the_arithmetic_says() -> None:
    outcome = constant(0.1, 2 * HOUR)
    page = outcome.first("page")
    reset = slowest_reset_s(promise(), "page", 0.1)
    assert page is not None
    assert page.resets_s is not None
    assert reset is not None
    assert page.resets_s - 7200 == pytest.approx(reset, abs=30)


def test_errors_at_the_objective_and_a_short_burst_are_silent() -> None:
    assert constant(0.001, 2 * HOUR).episodes == ()
    burst = [Step(timedelta(seconds=30), 1.0), Step(None, 0.0)]
    assert judge(burst, STEADY, HOUR / 2, history=6 * HOUR).first("page") is None


def test_one_error_an_hour_of_few_does_not_page_and_an_outage_of_few_does() -> None:
    few = [Step(None, 20 / 3600)]
    assert judge([Step(None, 0.05)], few, HOUR).first("page") is None
    outage = judge([Step(None, 1.0)], few, HOUR).first("page")
    assert outage is not None
    assert outage.fires_s == pytest.approx(2.5 * 180, abs=30), "half an event of room below three"


def test_traffic_that_stops_pages_for_missing_data_where_traffic_never_stops() -> None:
    stops = [Step(timedelta(minutes=30), 10.0), Step(timedelta(minutes=30), 0.0), Step(None, 10.0)]
    calm = [Step(None, 0.0)]
    (episode,) = judge(calm, stops, 2 * HOUR, HOUR / 2, liveness="zero").episodes
    assert episode.alert == NO_DATA
    assert episode.fires_s == pytest.approx(1800 + 240, abs=30)
    assert episode.resets_s == pytest.approx(3600, abs=30)
    assert judge(calm, stops, 2 * HOUR, HOUR / 2).episodes == ()


def test_an_outage_that_takes_the_traffic_along_is_seen_late() -> None:
    page = judge([Step(None, 1.0)], [Step(timedelta(0), 10.0), Step(None, 1.0)], HOUR / 2, 6 * HOUR)
    found = page.first("page")
    assert found is not None
    assert found.fires_s == pytest.approx(0.0144 * 3600 / (0.1 + 0.0144 * 0.9), abs=45)


def test_a_policy_waits_as_it_says_and_takes_a_burn_rate_just_as_high() -> None:
    condition = Condition("page", Decimal(50), True, HOUR, timedelta(minutes=5), NOWHERE, NOWHERE)
    table = table_of((condition,), THIRTY_DAYS)
    patient = [AlertPolicy("patient", (condition,), False, False, ())]
    steady = constant(0.05, 2 * HOUR, windows=table, policies=tuple(patient)).first("page")
    assert steady is not None, "50 times 0.1 % is 5 %, which is reached and never exceeded"
    strict = table_of((replace(condition, or_equal=False, alert_after=timedelta(0)),), THIRTY_DAYS)
    assert constant(0.05, 2 * HOUR, windows=strict, policies=tuple(patient)).first("page") is None
    soon = constant(0.5, HOUR, windows=strict, policies=tuple(patient)).first("page")
    late = constant(0.5, HOUR, windows=table, policies=tuple(patient)).first("page")
    assert soon is not None
    assert late is not None
    assert late.fires_s - soon.fires_s == pytest.approx(300, abs=15)


def test_a_policy_that_does_not_ask_for_missing_data_is_not_told_of_it() -> None:
    condition = Condition("page", Decimal(50), False, HOUR, timedelta(0), NOWHERE, NOWHERE)
    quiet = (AlertPolicy("quiet", (condition,), False, False, ()),)
    stops = [Step(timedelta(minutes=5), 10.0), Step(None, 0.0)]
    table = table_of((condition,), THIRTY_DAYS)
    outcome = judge([Step(None, 0.0)], stops, HOUR, HOUR / 2, liveness="zero", policies=quiet, windows=table)
    assert outcome.first(NO_DATA) is None


def test_good_events_of_another_metric_are_counted_alike() -> None:
    outcome = constant(0.5, HOUR, indicator=LATENCY)
    assert outcome.first("page") is not None
    assert outcome.bad_events == pytest.approx(0.5 * 36_000, rel=0.01)


def test_the_command_tells_the_course_and_what_it_spent() -> None:
    result = run("checkout-availability", "--error-rate", "20m:5%,0", "--traffic", "10/s", "--duration", "1h")
    assert result.exit_code == 0, result.output
    assert "17 m 30 s  the page fires: 1h and 5m above 1.44 %; 2.025 %" in result.stdout
    assert "600 of 36,000 were bad" in result.stdout
    calm = run("checkout-availability", "--error-rate", "0", "--duration", "5m", "--history", "1h", "--json")
    document = json.loads(calm.stdout)
    assert (document["episodes"], document["bad_events"], document["total_events"]) == ([], 0, 3000)


def test_without_traffic_nothing_is_spent_and_no_number_is_invented() -> None:
    arguments = ("checkout-availability", "--error-rate", "5%", "--duration", "10m", "--history", "10m", "--traffic")
    assert "0 of 0 were bad: 0 % of the budget" in run(*arguments, "0").stdout
    assert "an unknown share of the budget" in run(*arguments, "5m:0,10/s").stdout
    assert '"spent_ratio": null' in run(*arguments, "5m:0,10/s", "--json").stdout


@pytest.mark.parametrize(
    "arguments",
    [("--error-rate", "7"), ("--error-rate", "5%", "--traffic", "-1"), ("--error-rate", "0", "--duration", "90d"),
     ("--error-rate", "0", "--duration", "long"), ("--error-rate", "0", "--history", "1y")],
)  # fmt: skip
def test_impossible_courses_are_wrong_use(arguments: tuple[str, ...]) -> None:
    result = run("checkout-availability", *arguments)
    assert result.exit_code == 2, result.output
    assert len(result.stderr.strip().splitlines()) == 1
