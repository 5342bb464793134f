"""What is made of a canary's events: few show nothing, many bad ones end it, many good ones promote it."""

from __future__ import annotations

import random

import pytest
from typer.testing import CliRunner

from slo.canary import Caution, Outcome, compare, judge
from slo.cli import app
from slo.parse.tree import parse_definitions
from slo.publish import REPOSITORY
from slo.releases import Tally, is_told_apart

PROMISES = {promise.name: promise for promise in parse_definitions(REPOSITORY / "slo" / "definitions").promises}
CHECKOUT, CATALOGUE, FRESHNESS = (
    PROMISES[name] for name in ("checkout-availability", "catalogue-latency", "fulfilment-freshness")
)
WINDOW_S = 600.0
EXAMPLES: list[tuple[str, Tally, Tally, Outcome]] = [
    ("nothing happened", Tally(0, 0), Tally(500, 0), "unknown"),
    ("few events, none bad", Tally(50, 0), Tally(50, 0), "unknown"),
    ("one bad of a few", Tally(5, 1), Tally(5, 0), "unknown"),
    ("enough events, none bad", Tally(250, 0), Tally(250, 0), "promote"),
    ("enough events, and the others do worse", Tally(250, 0), Tally(250, 9), "promote"),
    ("a third is bad", Tally(60, 20), Tally(60, 0), "roll back"),
    ("a third is bad of both, as when a dependency fails", Tally(3, 1), Tally(300, 100), "unknown"),
    ("one in a hundred, which is ten times what may be", Tally(1000, 10), Tally(1000, 0), "roll back"),
    ("as bad as the others, but within the budget", Tally(20_000, 8), Tally(20_000, 8), "promote"),
    ("worse than the others, but certainly within the budget", Tally(200_000, 60), Tally(200_000, 20), "promote"),
    ("all bad, everywhere: too dear, whoever is to blame", Tally(400, 400), Tally(400, 400), "roll back"),
    ("nothing to compare with, and it fails", Tally(400, 200), Tally(0, 0), "roll back"),
]


@pytest.mark.parametrize(("title", "canary", "stable", "outcome"), EXAMPLES, ids=[one[0] for one in EXAMPLES])
def test_checkout_is_judged(title: str, canary: Tally, stable: Tally, outcome: Outcome) -> None:
    found = compare(CHECKOUT, canary, stable, WINDOW_S, Caution())
    assert found.outcome == outcome, found


def test_who_looks_often_needs_more_to_be_as_sure() -> None:
    once, often = Caution(most_budget=1), Caution(looks=36, most_budget=1)
    assert compare(CHECKOUT, Tally(250, 0), Tally(250, 0), WINDOW_S, once).outcome == "promote"
    found = compare(CHECKOUT, Tally(250, 0), Tally(250, 0), WINDOW_S, often)
    assert found.outcome == "unknown"
    assert "250 events are too few, about 454 are needed" in found.reason
    assert compare(CHECKOUT, Tally(12, 4), Tally(12, 0), WINDOW_S, once).outcome == "roll back"
    assert compare(CHECKOUT, Tally(12, 4), Tally(12, 0), WINDOW_S, often).outcome == "unknown"


def test_a_looser_promise_needs_fewer_events() -> None:
    assert compare(CATALOGUE, Tally(25, 0), Tally(25, 0), WINDOW_S, Caution()).outcome == "promote"


def test_an_innocent_canary_is_seldom_blamed() -> None:
    """Both draw from one share of 1 %: 36 looks that share a doubt of 5 % are wrong in at most 5 of 100 canaries."""
    draw, blamed = random.Random(7), 0
    for _ in range(100):
        canary = stable = Tally()
        for _ in range(36):
            canary += Tally(20, sum(draw.random() < 0.01 for _ in range(20)))
            stable += Tally(20, sum(draw.random() < 0.01 for _ in range(20)))
            found = compare(CHECKOUT, canary, stable, WINDOW_S, Caution(looks=36, most_budget=1.0))
            if found.outcome == "roll back":
                blamed += 1
                break
    assert blamed <= 5, blamed


def test_the_strictest_promise_decides_and_is_named() -> None:
    good = compare(CHECKOUT, Tally(500, 0), Tally(500, 0), WINDOW_S, Caution())
    bad = compare(CATALOGUE, Tally(100, 60), Tally(100, 0), WINDOW_S, Caution())
    silent = compare(CATALOGUE, Tally(0, 0), Tally(100, 0), WINDOW_S, Caution())
    assert judge([good, silent]).outcome == "unknown"
    assert judge([good, silent, bad]).outcome == "roll back"
    assert judge([good, bad]).reason.startswith("catalogue-latency: 60 of 100 of the canary's events are bad, 0 of 100")
    assert judge([good]).outcome == "promote"
    assert judge([]).outcome == "unknown"


def test_events_that_two_services_count_are_nobodys() -> None:
    assert is_told_apart(CHECKOUT)
    assert is_told_apart(CATALOGUE)
    assert not is_told_apart(FRESHNESS)


def test_without_a_prometheus_nobody_can_tell() -> None:
    result = CliRunner().invoke(app, ["canary", "--canary", "2", "--prometheus", "http://127.0.0.1:9"])
    assert result.exit_code == 2
    assert "no Prometheus answers at http://127.0.0.1:9" in result.output


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--doubt", "0.7"], "--doubt 0.7 is not between 0 and 0.5"),
        (["--window", "soon"], "--window"),
        (["--slo", "nothing"], "there is no SLO 'nothing'"),
    ],
)
def test_wrong_use_is_refused_in_one_line(words: list[str], complaint: str) -> None:
    result = CliRunner().invoke(app, ["canary", "--canary", "2", *words])
    assert result.exit_code == 2
    assert complaint in result.output
    assert result.output.count("\n") == 1
