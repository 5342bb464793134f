"""Quantities, reactions and `slo explain`: the numbers of the workbook, said in words."""

from __future__ import annotations

import contextlib
import json
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from slo.cli import app
from slo.explanation import explain
from slo.model import Slices
from slo.quantities import Step, parse_course, parse_rate, parse_share, say_count, say_objective, say_share, say_time
from slo.reaction import react, slowest_reset_s
from tests.unit.slo.example import promise


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["explain", *arguments])


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (7.5, "7.5 s"), (51.84, "52 s"), (518.4, "8 m 38 s"), (1036.8, "17 m 17 s"), (600, "10 m"),
     (2592, "43 m"), (12_960, "3.6 h"), (51_840, "14.4 h"), (129_600, "36 h"), (475_200, "5.5 d")],
)  # fmt: skip
def test_times_read_as_people_say_them(seconds: float, said: str) -> None:
    assert say_time(seconds) == said


def test_shares_counts_rates_and_courses() -> None:
    assert (say_objective(0.99999), say_objective(0.99), say_objective(0.99999999)) == (
        "99.999 %",
        "99 %",
        "99.999999 %",
    )
    assert (say_share(0.0005), say_count(43_200), say_count(2.5), say_count(3)) == ("0.05 %", "43,200", "2.5", "3")
    assert (parse_share("5%"), parse_share("0.05"), parse_rate("600/m"), parse_rate("10")) == (0.05, 0.05, 10.0, 10.0)
    assert parse_course("10m:0.05, 5m:0,100%", parse_share) == [
        Step(timedelta(minutes=10), 0.05),
        Step(timedelta(minutes=5), 0.0),
        Step(None, 1.0),
    ]


@pytest.mark.parametrize(
    "text", ["", "5", "-1%", "nan", "a", "0.1,0.2", "10:0.1", "0m:0.1", ":", ",".join(["1m:0"] * 200)]
)
def test_a_course_that_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_course(text, parse_share)


@given(st.text(max_size=12))
@settings(max_examples=50, deadline=None)
def test_no_text_breaks_the_reading_of_courses(text: str) -> None:
    for parse in (parse_share, parse_rate):
        with contextlib.suppress(ValueError):
            assert all(step.value >= 0 for step in parse_course(text, parse))


def test_the_first_tier_to_fire_is_the_one_that_is_told() -> None:
    five = react(promise(), "page", 0.05)
    assert five is not None
    assert (five.tier.long.name, round(five.after_s), round(five.reset_s), round(five.spent_ratio, 4)) == (
        "1h", 1037, 214, 0.02,
    )  # fmt: skip
    assert react(promise(), "page", 0.005) is None
    assert slowest_reset_s(promise(), "page", 0.05) == 1800 * (1 - 0.006 / 0.05)
    assert slowest_reset_s(promise(), "page", 0.001) is None


@given(st.sampled_from(["page", "ticket"]), st.floats(0.0001, 1), st.floats(0.5, 0.99999))
@settings(max_examples=50, deadline=None)
def test_what_is_spent_at_firing_is_what_the_tier_says(severity: str, error_ratio: float, objective: float) -> None:
    found = react(promise(objective=Decimal(f"{objective:.6f}")), severity, error_ratio)  # type: ignore[arg-type]
    if found is not None:
        share = float(found.tier.burn) * found.tier.long.length / timedelta(days=30)
        assert found.spent_ratio == pytest.approx(share)
        assert 0 <= found.after_s <= found.tier.long.length.total_seconds()
        assert 0 <= found.reset_s <= found.tier.short.length.total_seconds()


def test_the_explanation_holds_the_numbers_of_the_promise() -> None:
    result = run("checkout-availability", "--traffic", "2/s", "--json")
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert document["budget"]["ratio"] == 0.001
    assert document["budget"]["outage_s"] == pytest.approx(2592)
    assert document["budget"]["events"] == pytest.approx(5184)
    by_ratio = {reaction["error_ratio"]: reaction for reaction in document["reactions"]}
    assert by_ratio[0.02]["page"]["after_s"] == pytest.approx(2592)
    assert by_ratio[0.005]["page"] is None
    assert by_ratio[0.002]["ticket"]["after_s"] == pytest.approx(129_600)
    said = run("checkout-availability").stdout
    for expected in ("1h × 0.0144 / 0.05 = 17 m 17 s", "69.4 events in 1h", "43 m of total outage", "52 s"):
        assert expected in said


def test_tiers_that_cannot_fire_and_traffic_that_is_too_low_are_said() -> None:
    document = explain(promise(objective=Decimal("0.9")), 0.0005)
    sentences = " ".join(document["sentences"])
    assert [tier["burn"] for tier in document["unreachable"]] == [14.4]
    assert "14.4 × 0.1 = 144 %, which no error ratio exceeds" in sentences
    assert "there are 10.8 in 6h" in sentences
    assert "a page over 1h cannot fire at all" in " ".join(explain(promise(), 0.0005)["sentences"])
    assert "27.78 % errors or more" in " ".join(explain(promise(), 0.003)["sentences"])


@pytest.mark.parametrize(
    ("target", "said"),
    [(Decimal("0.9"), "one is bad as a whole when more than 10 % of what is in it is"), (None, "all weigh the same")],
)
def test_what_an_error_is_is_said_where_it_is_no_event(target: Decimal | None, said: str) -> None:
    sliced = promise(slices=Slices(timedelta(minutes=1), target))
    assert said in explain(sliced)["sentences"][0]
    assert "The budget is" in explain(promise())["sentences"][0]


def test_a_name_that_is_not_there_is_answered_with_those_that_are() -> None:
    result = run("checkout")
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert "checkout-availability" in result.stderr
