"""Every alert has a runbook that a person can follow at night, and every runbook an alert."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.telemetry import catalog
from stack.pager import deadman
from tests.contract.test_metric_names import BACKENDS, RECORDED, metric_names

ROOT = Path(__file__).parent.parent.parent
RUNBOOKS = ROOT / "docs/runbooks"


def alerts() -> list[dict[str, Any]]:
    """Every alert of every rule file, compiled and hand-written."""
    files = sorted((ROOT / "observability/prometheus").glob("*/*.yaml"))
    groups = [group for path in files for group in yaml.load(path.read_text(), yaml.CSafeLoader)["groups"]]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: str(rule["alert"]))
def test_an_alert_has_a_runbook_with_meaning_impact_diagnosis_and_mitigation(rule: dict[str, Any]) -> None:
    path = ROOT / rule["annotations"]["runbook"]
    assert path == RUNBOOKS / f"{rule['alert']}.md"
    text = path.read_text()
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert list(sections) == ["Meaning", "Impact", "Diagnosis", "Mitigation"]
    assert all(section.strip() for section in sections.values())
    assert "```" in sections["Diagnosis"] or "`signalbox " in sections["Diagnosis"], "what to ask, ready to be asked"
    if rule["labels"]["tier"] == "page":
        assert re.search(r"^1\. ", sections["Mitigation"], re.MULTILINE), "what to do, in order"


def test_every_runbook_belongs_to_an_alert() -> None:
    names = {str(rule["alert"]) for rule in alerts()} | {deadman.ALERT}
    assert {path.stem for path in RUNBOOKS.glob("*.md")} == names


@pytest.mark.parametrize("path", sorted(RUNBOOKS.glob("*.md")), ids=lambda path: path.stem)
def test_the_queries_of_a_runbook_ask_for_what_there_is(path: Path) -> None:
    for query in re.findall(r"```promql\n(.*?)```", path.read_text(), re.DOTALL):
        unknown = metric_names(query) - catalog.series_names() - BACKENDS
        assert {name for name in unknown if not RECORDED.fullmatch(name)} == set(), query
