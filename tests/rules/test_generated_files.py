"""What is committed, before the tools that will load it."""

from __future__ import annotations

import re
import subprocess
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from slo.compiler import compile_tree
from slo.durations import format_duration
from slo.emit.prometheus import emit_rules
from slo.emit.promtool.scenario import BUSY, HOUR, Scenario
from slo.emit.promtool.series import Traffic, series_of
from slo.parse.tree import parse_definitions
from slo.publish import plan_files
from tests.conftest import ROOT
from tests.rules.promtool import PROMISES, Promtool

DEFINITIONS = ROOT / "slo" / "definitions"
OBSERVABILITY = ROOT / "observability"
RUNBOOKS = ROOT / "docs" / "runbooks"
RULE_FILES = [
    *(OBSERVABILITY / "prometheus/_generated").glob("*.yaml"),
    *(OBSERVABILITY / "prometheus/rules").glob("*.yaml"),
]


@pytest.mark.parametrize("path", RULE_FILES, ids=lambda path: path.name)
def test_prometheus_accepts_the_rules(promtool: Promtool, path: Path) -> None:
    outcome = promtool.run("check", "rules", "--lint=all", "--lint-fatal", str(path))
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


@pytest.mark.parametrize("name", [*(promise.name for promise in PROMISES), "another project's"])
def test_the_tests_that_are_generated_pass_as_they_lie_there(promtool: Promtool, tmp_path: Path, name: str) -> None:
    """Their scenarios run one by one in test_scenarios; here the files are run as somebody else would run them."""
    folder = OBSERVABILITY / "prometheus/_generated/tests"
    if name not in {promise.name for promise in PROMISES}:
        definitions = parse_definitions(ROOT / "examples" / "slo-standalone" / "definitions")
        for generated in plan_files(definitions, tmp_path):
            generated.path.parent.mkdir(parents=True, exist_ok=True)
            generated.path.write_text(generated.text or "")
        folder, name = tmp_path / "prometheus/tests", "booking-success"
    outcome = promtool.run("test", "rules", f"{name}.liveness.yaml", cwd=folder)
    assert (outcome.returncode, "SUCCESS" in outcome.stdout) == (0, True), outcome.stdout + outcome.stderr


@pytest.mark.parametrize("clock", [1, 7, 20, 60])
def test_prometheus_and_alertmanager_accept_every_clock(
    promtool: Promtool, amtool: Path, tmp_path: Path, clock: int
) -> None:
    files = compile_tree(DEFINITIONS, clock=clock)
    for name, text in files.items():
        path = tmp_path / Path(name).name
        path.write_text(text)
    rules = promtool.run("check", "rules", str(tmp_path / "slo-rules.yaml"))
    assert rules.returncode == 0, rules.stdout + rules.stderr
    routes = ask(amtool, "check-config", str(tmp_path / "alertmanager.yml"))
    assert routes.returncode == 0, routes.stdout + routes.stderr


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        (("tier=page", "service=checkout", "slo=checkout-availability"), "pager"),
        (("tier=ticket", "service=checkout", "slo=checkout-availability"), "pager"),
        (("tier=watchdog", "alertname=Watchdog"), "deadman"),
        (("alertname=Unlabelled",), "pager"),
    ],
)
def test_alertmanager_sends_each_tier_its_way(amtool: Path, labels: tuple[str, ...], receiver: str) -> None:
    config = OBSERVABILITY / "alertmanager/_generated/alertmanager.yml"
    outcome = ask(amtool, "config", "routes", "test", f"--config.file={config}", *labels)
    assert outcome.stdout.strip() == receiver, outcome.stdout + outcome.stderr


@pytest.mark.parametrize("file", ["stack_test.yaml", "causes_test.yaml"])
def test_hand_written_alerts_fire_and_stay_silent(promtool: Promtool, file: str) -> None:
    outcome = promtool.run("test", "rules", file, cwd=Path(__file__).parent)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


def alerts() -> list[dict[str, object]]:
    groups = [group for path in RULE_FILES for group in yaml.safe_load(path.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: str(rule["alert"]))
def test_every_alert_has_a_runbook_with_all_sections(rule: dict[str, dict[str, str]]) -> None:
    path = ROOT / rule["annotations"]["runbook"]
    assert path.stem == rule["alert"]
    sections = re.findall(r"^## (.+)$", path.read_text(), re.MULTILINE)
    assert sections == ["Meaning", "Impact", "Diagnosis", "Mitigation"]
    assert rule["labels"]["tier"] in ("page", "ticket", "watchdog")
    assert rule["labels"]["team"]


def test_every_runbook_belongs_to_an_alert() -> None:
    raised_by_the_pager = {"DeadMansSwitch"}
    assert {path.stem for path in RUNBOOKS.glob("*.md")} == {
        str(rule["alert"]) for rule in alerts()
    } | raised_by_the_pager


def test_every_query_of_a_runbook_is_promql(promtool: Promtool, tmp_path: Path) -> None:
    queries = [
        query.strip()
        for path in sorted(RUNBOOKS.glob("*.md"))
        for query in re.findall(r"```promql\n(.*?)```", path.read_text(), re.DOTALL)
    ]
    assert len(queries) > 40
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(queries)]
    (tmp_path / "queries.yaml").write_text(yaml.safe_dump({"groups": [{"name": "runbooks", "rules": rules}]}))
    outcome = promtool.run("check", "rules", str(tmp_path / "queries.yaml"))
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


def test_half_the_errors_that_are_allowed_leave_half_the_budget(promtool: Promtool, tmp_path: Path) -> None:
    (promise,) = [promise for promise in PROMISES if promise.name == "checkout-availability"]
    scenario = Scenario("half", [Traffic(HOUR, BUSY, promise.budget / 2)])
    test = budget_test(tmp_path, scenario, promise.name)
    test["promql_expr_test"] = [
        {"expr": f"round({name}, 0.001)", "eval_time": "1h", "exp_samples": [{"labels": labels, "value": value}]}
        for labels in ['{service="checkout", slo="checkout-availability"}']
        for name, value in [
            ("slo:period_error_budget_remaining:ratio", 0.5),
            ("slo:period_burn_rate:ratio", 0.5),
            ("slo:current_burn_rate:ratio", 0.5),
            ("slo:time_period:days", 30),
        ]
    ]
    judge(promtool, tmp_path, [test])


def test_a_page_carries_what_its_reader_needs(promtool: Promtool, tmp_path: Path) -> None:
    (promise,) = [promise for promise in PROMISES if promise.name == "checkout-availability"]
    test = budget_test(tmp_path, Scenario("all bad", [Traffic(HOUR / 4, BUSY, Decimal(1))]), promise.name)
    rules = yaml.safe_load(emit_rules([promise]))["groups"][1]["rules"]
    (page,) = [rule for rule in rules if rule.get("alert") == "CheckoutAvailabilityBurnPage"]
    annotations = {
        **page["annotations"],
        "budget_remaining": "-9.99e+04%",
        "budget_lasts": "0s",
        "worst_route": "POST /v1/orders (6000 bad)",
        "worst_instance": " (100%)",  # the invented series have none
        **dict.fromkeys(("worst_version", "suspect", "changed"), ""),
        "description": page["annotations"]["description"].replace("{{ $value | humanizePercentage }}", "100%"),
    }
    test["alert_rule_test"] = [
        {
            "alertname": page["alert"],
            "eval_time": "10m",
            "exp_alerts": [{"exp_labels": page["labels"], "exp_annotations": annotations}],
        }
    ]
    judge(promtool, tmp_path, [test])


def budget_test(folder: Path, scenario: Scenario, name: str) -> dict[str, Any]:
    (promise,) = [promise for promise in PROMISES if promise.name == name]
    (folder / "rules.yaml").write_text(emit_rules([promise]))
    series = series_of(promise.indicator, scenario.course, scenario.sample)
    inputs = [{"series": name, "values": values} for name, values in series]
    return {"interval": format_duration(scenario.sample), "input_series": inputs}


def judge(promtool: Promtool, folder: Path, tests: list[dict[str, Any]]) -> None:
    outcome = promtool.test(folder, tests, "2m", "rules.yaml")
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


def ask(tool: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(tool), *arguments], capture_output=True, text=True, timeout=30, check=False)
