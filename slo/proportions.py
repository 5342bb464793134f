"""How sure one can be of a share of events: exact bounds of one share, an exact test of two.

Owns the two classical answers (Clopper–Pearson, Fisher), which hold for few events as for many. Refuses to know what
is counted. `doubt` is always the chance of being wrong that one accepts, on one side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

NEGLIGIBLE = 1e-17
BISECTIONS = 60


def bounds(bad: int, total: int, doubt: float) -> tuple[float, float]:
    """The least and the greatest share of bad events that these may have come from, each with this doubt: 0 of 300 at
    0.05 gives (0, 0.00994). Nothing seen, nothing known: (0, 1)."""
    least = 0.0 if bad == 0 else _solve(lambda share: chance_of_as_many(bad, total, share) < doubt)
    greatest = 1.0 if bad == total else _solve(lambda share: 1 - chance_of_as_many(bad + 1, total, share) > doubt)
    return least, greatest


def chance_of_as_many(bad: int, total: int, share: float) -> float:
    """The chance of at least so many bad events when this share of all is bad."""
    if bad <= 0:
        return 1.0
    if bad > total or share <= 0:
        return 0.0
    if share >= 1:
        return 1.0
    odds = share / (1 - share)

    def term(count: int) -> float:
        return math.exp(_choices(total, count) + count * math.log(share) + (total - count) * math.log1p(-share))

    if bad > total * share:  # from the nearer end, where the terms only become smaller
        return min(1.0, _sum(term(bad), ((total - k) / (k + 1) * odds for k in range(bad, total))))
    return max(0.0, 1 - _sum(term(bad - 1), (k / (total - k + 1) / odds for k in range(bad - 1, 0, -1))))


def chance_of_no_difference(bad: int, total: int, other_bad: int, other_total: int) -> float:
    """The chance of at least so many bad events among the first, had both the same share of them (Fisher, one side)."""
    all_bad, everything = bad + other_bad, total + other_total
    least, greatest = max(0, all_bad - other_total), min(all_bad, total)

    def logarithm(count: int) -> float:
        return _choices(all_bad, count) + _choices(everything - all_bad, total - count) - _choices(everything, total)

    def ratio(count: int) -> float:
        return (all_bad - count) * (total - count) / ((count + 1) * (everything - all_bad - total + count + 1))

    if bad <= least:
        return 1.0
    if bad > all_bad * total / everything:
        return min(1.0, _sum(math.exp(logarithm(bad)), (ratio(count) for count in range(bad, greatest))))
    below = _sum(math.exp(logarithm(bad - 1)), (1 / ratio(count) for count in range(bad - 2, least - 1, -1)))
    return max(0.0, 1 - below)


def events_needed(share: float, doubt: float) -> int:
    """How many events without a bad one show that less than this share is bad."""
    return math.ceil(math.log(doubt) / math.log1p(-share)) if 0 < share < 1 else 1


def _choices(total: int, count: int) -> float:
    """Logarithm of the ways to choose `count` of `total`."""
    return math.lgamma(total + 1) - math.lgamma(count + 1) - math.lgamma(total - count + 1)


def _sum(first: float, ratios: Iterable[float]) -> float:
    """A term and those after it, each the one before times its ratio, until they are too small to matter."""
    term = total = first
    for ratio in ratios:
        term *= ratio
        total += term
        if term < total * NEGLIGIBLE:
            break
    return total


def _solve(is_below: Callable[[float], bool]) -> float:
    """The share at which the answer changes from yes to no."""
    low, high = 0.0, 1.0
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if is_below(middle) else (low, middle)
    return (low + high) / 2
