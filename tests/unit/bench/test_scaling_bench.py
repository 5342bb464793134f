"""What the proof of scaling counts: rates over legs, replica-seconds, changes of direction."""

from __future__ import annotations

import pytest

from bench.scaling.record import Record, Sample
from bench.scaling.traffic import Leg, Outcome, rate_at


def sample(at_s: float, wished: int, ready: int | None = None, good: int = 0, bad: int = 0) -> Sample:
    figures = dict.fromkeys(("p95_ms", "pressure", "asked", "in_flight", "paging", "connections"))
    return Sample(at_s, 1.0, wished, wished if ready is None else ready, good + bad, good, bad, **figures)


def record(*wished: int) -> Record:
    return Record([sample(float(second), replicas) for second, replicas in enumerate(wished)])


def test_a_rate_climbs_in_a_straight_line_and_ends_with_its_legs() -> None:
    legs = [Leg(10, 2, 2), Leg(10, 2, 20)]
    assert [rate_at(legs, at_s) for at_s in (0, 9, 15, 20)] == [2, 2, 11, None]
    assert rate_at([Leg(float("inf"), 3, 3)], 1e6) == 3


@pytest.mark.parametrize(
    ("wished", "turns"), [((2, 2, 2), 0), ((2, 4, 5, 5), 0), ((2, 5, 5, 4, 2), 1), ((2, 4, 3, 4, 2), 3)]
)
def test_flapping_is_counted_in_changes_of_direction(wished: tuple[int, ...], turns: int) -> None:
    assert record(*wished).turns() == turns


def test_what_is_still_there_is_paid_for_too() -> None:
    seen = Record([sample(0, 5), sample(1, 2, ready=5), sample(2, 2), sample(4, 2)])
    assert seen.replica_seconds() == 5 + 5 + 2 * 2
    assert seen.seconds() == 4


def test_the_share_of_good_answers_is_of_answers() -> None:
    assert Record([sample(0, 2, good=999, bad=1)]).good_ratio == 0.999
    assert Record([sample(0, 2)]).good_ratio == 0


def test_a_quantile_without_answers_is_none() -> None:
    assert Outcome().quantile_ms(0.95) is None
    assert Outcome(waits_s=[0.1, 0.2, 0.3]).quantile_ms(0.5) == 200
