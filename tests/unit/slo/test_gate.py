"""The deploy gate: what a policy makes of readings, and how an exemption lifts a stop."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from slo.budget import BudgetPolicy, Exemption, Level, Reading, State, judge
from slo.cli import app
from slo.errors import Location
from slo.gate import open_gate

PERIOD_S = 30 * 86_400.0
POLICY = BudgetPolicy(
    name="deploys",
    title="Deploys",
    description="",
    promises=(),
    levels=(Level(Decimal(0), "freeze"), Level(Decimal("0.25"), "approve")),
    while_paging="freeze",
    exemptions=(Exemption("fix", "The fix.", ("approve", "freeze", "unknown")), Exemption("agreed", "", ("approve",))),
    at=Location("budget.yaml"),
)
READING = Reading("answers", "shop", remaining=0.8, burn=0.5, paging=False, period_s=PERIOD_S)
EXAMPLES: list[tuple[str, Reading, State]] = [
    ("plenty", READING, "allow"),
    ("more than was ever there, after a correction", replace(READING, remaining=1.2), "allow"),
    ("just above the level", replace(READING, remaining=0.2501), "allow"),
    ("at the level", replace(READING, remaining=0.25), "approve"),
    ("nothing", replace(READING, remaining=0.0), "freeze"),
    ("overspent", replace(READING, remaining=-3.0), "freeze"),
    ("a page fires", replace(READING, paging=True), "freeze"),
    ("no budget data", replace(READING, remaining=None), "unknown"),
    ("not a number", replace(READING, remaining=math.nan), "unknown"),
    ("nobody knows about pages", replace(READING, paging=None), "unknown"),
    ("no burn data, which only the forecast needs", replace(READING, burn=None), "allow"),
]


@pytest.mark.parametrize(("title", "reading", "state"), EXAMPLES, ids=[example[0] for example in EXAMPLES])
def test_one_promise_is_judged(title: str, reading: Reading, state: State) -> None:
    assert judge(POLICY, reading).state == state
    gate = open_gate([POLICY], [reading])
    assert gate.decision == {"allow": "go", "approve": "stop", "freeze": "stop", "unknown": "unknown"}[state]


def test_the_strictest_promise_decides_and_is_named() -> None:
    gate = open_gate(
        [POLICY],
        [READING, replace(READING, promise="pays", remaining=-0.1), replace(READING, promise="x", remaining=None)],
    )
    assert gate.decision == "stop"
    assert gate.reason == "pays: -10 % of the budget is left, at most 0 %"
    assert [verdict.reading.promise for verdict in gate.verdicts] == ["pays", "x", "answers"]


def test_one_promise_without_data_is_enough_not_to_tell() -> None:
    assert open_gate([POLICY], [READING, replace(READING, promise="x", remaining=None)]).decision == "unknown"


def test_nothing_to_judge_is_no_go() -> None:
    elsewhere = replace(POLICY, promises=("other",))
    assert open_gate([elsewhere], [READING]).decision == "unknown"
    assert open_gate([elsewhere], [READING], "fix").decision == "unknown"
    assert open_gate([], [READING]).decision == "unknown"


def test_while_a_page_fires_a_policy_may_only_ask() -> None:
    lenient = replace(POLICY, while_paging="approve")
    assert judge(lenient, replace(READING, paging=True)).state == "approve"
    assert judge(lenient, replace(READING, paging=True, remaining=0.0)).state == "freeze"


@pytest.mark.parametrize(
    ("exemption", "reading", "decision"),
    [
        ("fix", replace(READING, paging=True), "go"),
        ("fix", replace(READING, remaining=None), "go"),
        ("agreed", replace(READING, remaining=0.1), "go"),
        ("agreed", replace(READING, remaining=0.0), "stop"),
        ("agreed", replace(READING, remaining=None), "unknown"),
        ("", replace(READING, remaining=0.1), "stop"),
        ("unheard-of", replace(READING, remaining=0.1), "stop"),
    ],
)
def test_an_exemption_lifts_what_it_says(exemption: str, reading: Reading, decision: str) -> None:
    assert open_gate([POLICY], [reading], exemption).decision == decision


def test_an_exemption_must_be_one_of_every_policy_that_stops() -> None:
    strict = replace(POLICY, name="strict", exemptions=())
    reading = replace(READING, remaining=0.0)
    assert open_gate([POLICY, strict], [reading], "fix").decision == "stop"
    elsewhere = replace(strict, promises=("other",))
    assert open_gate([POLICY, elsewhere], [reading], "fix").decision == "go"


def test_an_exemption_that_is_not_needed_is_not_used() -> None:
    assert open_gate([POLICY], [READING], "fix").exemption == ""


@pytest.mark.parametrize(
    ("remaining", "burn", "seconds"),
    [(0.5, 1.0, PERIOD_S / 2), (0.5, 14.4, PERIOD_S / 28.8), (0.5, 0.0, math.inf), (0.0, 3.0, 0.0), (-1.0, 3.0, 0.0)],
)
def test_time_to_exhaustion(remaining: float, burn: float, seconds: float) -> None:
    assert replace(READING, remaining=remaining, burn=burn).exhaustion_s == pytest.approx(seconds)


def test_time_to_exhaustion_without_data_is_unknown() -> None:
    assert replace(READING, burn=None).exhaustion_s is None


NOBODY = ("--prometheus", "http://127.0.0.1:9")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["gate", *arguments])


def test_a_dead_prometheus_is_never_a_go() -> None:
    result = run(*NOBODY, "--json")
    assert result.exit_code == 2
    document = json.loads(result.stdout)
    assert document["decision"] == "unknown"
    assert "Connection refused" in document["trouble"]
    assert {slo["budget_remaining_ratio"] for slo in document["slos"]} == {None}
    assert [way["name"] for way in document["exceptions"]] == ["severity-1-fix"]


def test_no_address_at_all_is_never_a_go() -> None:
    result = run()
    assert result.exit_code == 2
    assert result.stdout.startswith("CANNOT TELL")
    assert "--prometheus" in result.stderr


def test_an_exception_is_written_down(tmp_path: Path) -> None:
    record = tmp_path / "record.jsonl"
    use = ("--exception", "severity-1-fix", "--reason", "rolls 1.4 back", "--record", str(record))
    result = run(*NOBODY, *use)
    assert result.exit_code == 0
    assert result.stdout.startswith("GO  by the exception 'severity-1-fix', although ")
    assert run(*NOBODY, *use).exit_code == 0
    first, second = map(json.loads, record.read_text().splitlines())
    assert first["exception"] == second["exception"] == "severity-1-fix"
    assert first["reason"] == "rolls 1.4 back"
    assert first["by"]
    assert first["at"]
    assert len(first["lifted"]) == 3


def test_what_cannot_be_written_down_is_not_used(tmp_path: Path) -> None:
    use = ("--exception", "severity-1-fix", "--reason", "x", "--record", str(tmp_path / "no" / "folder"))
    result = run(*NOBODY, *use)
    assert result.exit_code == 2
    assert "cannot be written down" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--exception", "severity-1-fix"), "needs --reason"),
        (("--exception", "because", "--reason", "x"), "there is no exception 'because'"),
        (("--policy", "nothing"), "there is no budget policy 'nothing'. Known: deploys"),
        (("--service", "nobody"), "there is no service 'nobody'. Known: catalogue, checkout, fulfilment"),
        (("--definitions", "/nowhere"), "no-definitions"),
    ],
)
def test_wrong_use_is_no_go(arguments: tuple[str, ...], said: str) -> None:
    result = run(*NOBODY, *arguments)
    assert result.exit_code in (1, 2)
    assert said in result.stderr
    assert "Traceback" not in result.output
