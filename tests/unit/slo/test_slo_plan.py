"""`slo plan`: a change of the definitions in the words of whoever is woken by it, and what rules cost."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from slo.cli import app
from slo.cost import cost_of, cost_of_rules
from slo.plan import compare
from slo.publish import REPOSITORY
from tests.unit.slo.example import promise

DEFINITIONS = REPOSITORY / "slo" / "definitions"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["plan", *arguments])


def sentences(**changes: object) -> tuple[str, ...]:
    (change,) = compare([promise()], [promise(**changes)])
    return change.sentences


def test_a_weaker_promise_is_said_in_detection_times_and_budget() -> None:
    said = sentences(objective=Decimal("0.9975"))
    assert "promises 99.75 % instead of 99.9 %" in said
    assert "may lose 1.8 h of outage in 30d (0.25 %) instead of 43 m of outage in 30d (0.1 %)" in said
    assert "pages at 5 % errors after 43 m instead of 17 m 17 s" in said
    assert "no longer pages at 1 % errors (did after 3.6 h)" in said


def test_a_stronger_promise_pages_where_it_never_did() -> None:
    assert "pages at 0.5 % errors after 43 m instead of never" in sentences(objective=Decimal("0.99975"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"min_bad_events": 10}, "needs so many bad events in the long window 10 instead of 3"),
        (
            {"liveness": "zero"},
            "takes for missing data absent series, or no events at all instead of absent series only",
        ),
        ({"team": "night"}, "pages the team night instead of sales"),
    ],
)
def test_what_else_a_change_means(change: dict[str, object], said: str) -> None:
    assert sentences(**change) == (said,)


def test_the_same_promises_are_no_change_and_new_and_lost_ones_are() -> None:
    assert compare([promise()], [promise()]) == []
    removed, added = compare([promise()], [promise(name="other-one")])[::-1]
    assert (added.kind, removed.kind) == ("added", "removed")
    assert "ShopAnswersBurnPage" in removed.rules["removed"]
    assert added.rules["changed"] == []
    assert added.before.samples == 0 < added.after.samples


def test_rules_that_change_are_named() -> None:
    (change,) = compare([promise()], [promise(min_bad_events=5)])
    assert change.rules == {"added": [], "removed": [], "changed": ["ShopAnswersBurnPage", "ShopAnswersBurnTicket"]}


# cost


@pytest.mark.parametrize(
    ("expression", "samples"),
    [
        ("sum(increase(raw{a=\"(b)\"}[5m]))", 40 * 20),
        ("sum by (a, b) (rate(raw[1h]))", 40 * 240),
        ("slo:x{slo=\"a\"} / (slo:x > 0)  # 14.4 x raw", 2),
        ("sum_over_time(slo:x[30d:5m] offset 57m15s) or 0 * slo:x", 8641),
        ("max_over_time((slo:x - slo:x)[1h:1m])", 120),
        ("sum_over_time(slo:x[1h])", 240),
        ("vector(1) and on () time() > 3", 0),
    ],
)  # fmt: skip
def test_samples_are_counted_off_the_expression(expression: str, samples: float) -> None:
    group = {"interval": "15s", "rules": [{"alert": "A", "expr": expression}, {"record": "slo:x", "expr": "vector(1)"}]}
    cost = cost_of_rules({"groups": [group]})
    assert cost.samples == pytest.approx(samples)
    assert cost.samples_per_hour == pytest.approx(samples * 240)


def test_counters_are_read_an_hour_back_and_recorded_series_the_whole_period() -> None:
    cost = cost_of([promise()])
    assert (cost.counters_back_s, cost.recorded_back_s // 86400) == (3600, 29)
    assert cost_of([promise()], series=80).samples > 1.5 * cost.samples
    assert cost_of([promise(), promise(name="b")]).samples == pytest.approx(2 * cost.samples, rel=0.01)


# the command


@pytest.fixture
def change(tmp_path: Path) -> Callable[[str, str, str], Path]:
    definitions = Path(shutil.copytree(DEFINITIONS, tmp_path / "definitions"))

    def replace(file: str, old: str, new: str) -> Path:
        path = definitions / file
        path.write_text(path.read_text().replace(old, new))
        return definitions

    return replace


def test_two_folders_are_compared(change: Callable[..., Path]) -> None:
    definitions = change("checkout-availability.yaml", "target: 0.999", "target: 0.9975")
    result = run("--definitions", str(definitions), "--against", str(DEFINITIONS))
    assert result.exit_code == 0
    assert "~ checkout-availability" in result.stdout
    assert "pages at 5 % errors after 43 m instead of 17 m 17 s" in result.stdout
    assert f"1 of 3 SLOs change against {DEFINITIONS}." in result.stdout
    document = json.loads(run("--definitions", str(definitions), "--against", str(DEFINITIONS), "--json").stdout)
    assert {"severity": "page", "error_ratio": 0.01, "before_s": pytest.approx(12_960), "after_s": None} in (
        document["changes"][0]["reactions"]
    )
    assert document["cost"]["before"]["samples"] > 10_000


def test_definitions_that_do_not_compile_and_revisions_that_are_not_there(change: Callable[..., Path]) -> None:
    definitions = change("checkout-availability.yaml", "target: 0.999", "target: 99.9")
    assert run("--definitions", str(definitions), "--against", str(DEFINITIONS)).exit_code == 1
    result = run("--definitions", str(DEFINITIONS), "--against", str(definitions))
    assert result.exit_code == 1
    assert "do not compile" in result.stderr


@pytest.mark.processes
def test_a_commit_is_compared_with_what_lies_in_the_folder(change: Callable[..., Path]) -> None:
    definitions = change("checkout-availability.yaml", "", "")

    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", "-C", str(definitions.parent), *identity, *arguments], check=True, capture_output=True)

    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    assert "No change against HEAD." in run("--definitions", str(definitions)).stdout
    change("checkout-availability.yaml", "target: 0.999", "target: 0.9975")
    assert "~ checkout-availability" in run("--definitions", str(definitions)).stdout
    for wrong in ("v1", "--output=x", "HEAD:nothing"):
        result = run("--definitions", str(definitions), "--against", wrong)
        assert result.exit_code == 2
        assert "neither a folder nor a commit" in result.stderr
