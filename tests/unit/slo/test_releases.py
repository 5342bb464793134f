"""Events told apart by version: exact counts between scrapes, across restarts and changes of version."""

from __future__ import annotations

import pytest

from slo.prometheus import Course
from slo.releases import Life


def life(*seen: tuple[float, str]) -> Life:
    courses: dict[str, list[tuple[float, float]]] = {}
    for at_s, version in seen:
        courses.setdefault(version, []).append((at_s, 1.0))
    return Life.of(Course({"service_version": version}, tuple(samples)) for version, samples in courses.items())


STEADY = life((0, "1"), (5, "1"), (10, "1"), (15, "1"))
ROLLED = life((0, "1"), (5, "1"), (10, "2"), (15, "2"))
Samples = list[tuple[float, float]]
EXAMPLES: list[tuple[str, Life, Samples, dict[str, int]]] = [
    ("what was counted before the window is not", STEADY, [(0, 100), (5, 103), (15, 110)], {"1": 10}),
    ("a series that appears later counts from nothing", STEADY, [(10, 4), (15, 5)], {"1": 5}),
    ("a restart starts from nothing", STEADY, [(0, 100), (5, 104), (10, 3), (15, 4)], {"1": 8}),
    ("a new version starts from nothing", ROLLED, [(0, 100), (5, 104), (10, 3), (15, 4)], {"1": 4, "2": 4}),
    ("even if it has counted more by its first scrape", ROLLED, [(0, 1), (5, 2), (10, 9), (15, 9)], {"1": 1, "2": 9}),
    ("a sample at its creation is the new version's", ROLLED, [(0, 1), (5, 2), (7, 0), (10, 9)], {"1": 1, "2": 9}),
    ("nothing happened", STEADY, [(0, 7), (15, 7)], {"1": 0}),
]


@pytest.mark.parametrize(("title", "lived", "samples", "wanted"), EXAMPLES, ids=[one[0] for one in EXAMPLES])
def test_growth_is_counted(title: str, lived: Life, samples: Samples, wanted: dict[str, int]) -> None:
    assert dict(lived.counted(samples)) == wanted
