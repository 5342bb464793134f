"""Exact bounds and the exact test, against their definitions in whole numbers."""

from __future__ import annotations

from fractions import Fraction
from math import comb

import pytest

from slo.proportions import bounds, chance_of_as_many, chance_of_no_difference, events_needed

PAIRS = [(0, 10, 5, 10), (5, 10, 0, 10), (3, 50, 2, 60), (1, 5, 0, 5), (2, 40, 3, 30), (10, 10, 1, 10), (7, 9, 80, 900)]


def fisher(bad: int, total: int, other_bad: int, other_total: int) -> Fraction:
    """Every way to deal the bad events that gives the first at least so many, of all ways there are."""
    all_bad, everything = bad + other_bad, total + other_total
    ways = (
        comb(all_bad, count) * comb(everything - all_bad, total - count)
        for count in range(bad, min(all_bad, total) + 1)
    )
    return Fraction(sum(ways), comb(everything, total))


def binomial(bad: int, total: int, share: Fraction) -> Fraction:
    return sum(
        (comb(total, k) * share**k * (1 - share) ** (total - k) for k in range(bad, total + 1)), start=Fraction()
    )


@pytest.mark.parametrize("pair", PAIRS)
def test_the_chance_of_no_difference_is_fishers(pair: tuple[int, int, int, int]) -> None:
    assert chance_of_no_difference(*pair) == pytest.approx(float(fisher(*pair)), rel=1e-9)


@pytest.mark.parametrize(("bad", "total", "share"), [(5, 100, "0.03"), (2, 100, "0.03"), (1, 7, "0.5"), (7, 7, "0.9")])
def test_the_chance_of_as_many_is_binomial(bad: int, total: int, share: str) -> None:
    wanted = float(binomial(bad, total, Fraction(share)))
    assert chance_of_as_many(bad, total, float(share)) == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize(("bad", "total"), [(0, 300), (1, 100), (5, 100), (99, 100), (100, 100)])
@pytest.mark.parametrize("doubt", [0.05, 0.001])
def test_bounds_are_where_the_doubt_is_reached(bad: int, total: int, doubt: float) -> None:
    least, greatest = bounds(bad, total, doubt)
    assert least <= bad / total <= greatest
    if bad:
        assert chance_of_as_many(bad, total, least) == pytest.approx(doubt, rel=1e-6)
    if bad < total:
        assert 1 - chance_of_as_many(bad + 1, total, greatest) == pytest.approx(doubt, rel=1e-6)


def test_nothing_seen_is_nothing_known() -> None:
    assert bounds(0, 0, 0.05) == (0, 1)
    assert chance_of_no_difference(0, 0, 5, 10) == chance_of_no_difference(3, 10, 0, 0) == 1


def test_many_events_are_no_trouble() -> None:
    assert chance_of_no_difference(50_000, 1_000_000, 40_000, 1_000_000) < 1e-200
    least, greatest = bounds(50_000, 1_000_000, 0.05)
    assert 0.0496 < least < 0.05 < greatest < 0.0504


@pytest.mark.parametrize(("share", "doubt"), [(0.0144, 0.05), (0.144, 0.05), (0.0144, 0.001)])
def test_so_many_good_events_and_no_fewer_show_it(share: float, doubt: float) -> None:
    needed = events_needed(share, doubt)
    assert bounds(0, needed, doubt)[1] <= share < bounds(0, needed - 1, doubt)[1]
