"""The cases of `bench.triage`: they name what triage can say, and places are counted as a reader would."""

from __future__ import annotations

import pytest

from bench.triage import CASES, case, killed
from incidents.scenario_file import FOLDER, observe_scenarios
from incidents.triage.rules import read_rules


def test_every_right_cause_is_one_that_triage_can_name() -> None:
    rules = read_rules()
    components = {*rules.topology.needs, *(one for needed in rules.topology.needs.values() for one in needed)}
    for one in CASES:
        for component, kind in (cause.split() for cause in one.right):
            assert component in components, one.name
            assert kind in rules.kinds, one.name


def test_no_case_is_an_incident_of_the_catalogue() -> None:
    of_catalogue = [
        [(fault.name, fault.target, fault.parameters) for fault in source.scenario.faults if fault.kind == "service"]
        for source in observe_scenarios(FOLDER).values()
    ]
    for one in CASES:
        assert [(broken.fault, broken.service, broken.parameters) for broken in one.broken] not in of_catalogue
    assert len({one.name for one in CASES}) == len(CASES)


@pytest.mark.parametrize(
    ("right", "broken", "said", "place"),
    [
        ([], 1, [], 1),
        ([], 1, ["api errors"], None),
        (["api down"], 1, ["api down", "api errors"], 1),
        (["payments down", "payments latency"], 1, ["api errors", "payments latency"], 2),
        (["api down"], 1, ["api errors"], None),
        (["api down", "valkey down"], 2, ["valkey down", "api down"], 1),
        (["api down", "valkey down"], 2, ["valkey down", "api errors", "api down"], 2),
        (["api down", "valkey down"], 2, ["valkey down"], None),
    ],
)
def test_a_place_is_where_triage_was_right(right: list[str], broken: int, said: list[str], place: int | None) -> None:
    assert case("a case", right, *[killed("api-1")] * broken).place(said) == place
