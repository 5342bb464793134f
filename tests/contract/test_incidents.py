"""Incidents and alerts agree: what a scenario waits for exists in its tier, has a runbook, and causes differ."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from incidents.scenario_file import FOLDER, ScenarioFile, observe_scenarios
from tests.conftest import ROOT

RULES = ROOT / "observability" / "prometheus"
SCENARIOS = observe_scenarios(FOLDER)
# The pager's own: nobody else is left to send it.
OF_THE_PAGER = {"DeadMansSwitch": "page"}


def alerts(*folders: str) -> dict[str, Any]:
    files = [path for folder in folders for path in (RULES / folder).glob("*.yaml")]
    groups = [group for path in files for group in yaml.safe_load(path.read_text())["groups"]]
    return {rule["alert"]: rule["labels"]["tier"] for group in groups for rule in group["rules"] if "alert" in rule}


@pytest.mark.parametrize("source", SCENARIOS.values(), ids=SCENARIOS)
def test_the_alert_of_a_scenario_exists_in_its_tier_and_has_a_runbook(source: ScenarioFile) -> None:
    alert = source.scenario.alert
    known = {**alerts("rules", "_generated"), **OF_THE_PAGER}
    assert known.get(alert.name) == alert.tier
    assert source.scenario.runbook == f"docs/runbooks/{alert.name}.md"
    assert (ROOT / source.scenario.runbook).is_file()


@pytest.mark.parametrize("source", SCENARIOS.values(), ids=SCENARIOS)
def test_alerts_that_must_be_silent_exist(source: ScenarioFile) -> None:
    known = {**alerts("rules", "_generated"), **OF_THE_PAGER}
    for pattern in source.scenario.must_not_fire:
        assert "*" in pattern or pattern in known, pattern


def test_no_two_incidents_have_the_same_cause_and_alert() -> None:
    seen: dict[tuple[str, str, str], str] = {}
    for name, source in SCENARIOS.items():
        cause = source.scenario.cause
        key = (cause.component, cause.kind, source.scenario.alert.name)
        assert key not in seen, f"{name} and {seen[key]}"
        seen[key] = name


def test_every_ticket_that_names_a_cause_or_work_that_is_left_has_an_incident() -> None:
    files = [(RULES / "rules" / name).read_text() for name in ("causes.yaml", "work.yaml")]
    named = {rule["alert"] for text in files for group in yaml.safe_load(text)["groups"] for rule in group["rules"]}
    waited_for = {source.scenario.alert.name for source in SCENARIOS.values()}
    shown = " ".join(source.text for source in SCENARIOS.values())
    assert {name for name in named - waited_for if f'"{name}"' not in shown} == set()
