"""The command as a person or a program calls it, against a system that stands in for the real one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from stand_in import StandIn
from typer.testing import CliRunner, Result

from incidents.triage.cli import app


def call(system: StandIn | None, *arguments: str) -> Result:
    given = {"endpoints": system.urls if system else {}, "clock": 20.0}
    return CliRunner().invoke(app, list(arguments), obj=given)


def document(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_of_a_quiet_system_it_says_nothing_unusual(system: StandIn) -> None:
    found = document(call(system, "--json"))
    assert (found["format"], found["verdict"], found["causes"]) == (1, "nothing unusual", [])
    shown = call(system)
    assert "Nothing unusual." in shown.stdout
    assert "reading figures" in shown.stderr


def test_a_backend_that_does_not_answer_is_the_finding(system: StandIn) -> None:
    system.down = {"prometheus"}
    found = document(call(system, "--json"))
    assert [f"{one['component']} {one['kind']}" for one in found["causes"]] == ["prometheus down"]
    assert found["missing"] == {"prometheus": found["causes"][0]["evidence"][0]["says"]}
    assert "prometheus: down" in call(system).stdout


def test_a_page_can_be_named_and_text_of_others_is_shown_as_text(system: StandIn) -> None:
    system.page("[bold]Alert[/bold]", mine=False)
    found = document(call(system, "[bold]Alert[/bold]", "--json"))
    assert found["alert"]["alert"] == "[bold]Alert[/bold]"
    assert "[bold]Alert[/bold] (page) since" in call(system).stdout


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("Nobody",), 2, "the pager has no page 'Nobody'. Known: none."),
        (("--at", "yesterday"), 2, "--at is 'yesterday', neither an RFC 3339 time nor seconds since the epoch."),
        (("--since", "nan"), 2, "--since is 'nan', neither an RFC 3339 time nor seconds since the epoch."),
        (("--window", "1"), 2, "greater than or equal to 5"),
        (("--endpoints", "/nowhere.json"), 2, "/nowhere.json is not a state document"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_one_line(
    system: StandIn, arguments: tuple[str, ...], code: int, said: str
) -> None:
    result = call(system, *arguments)
    assert result.exit_code == code
    assert said in " ".join(result.stderr.split())
    assert not result.stdout


def test_without_a_stack_it_says_how_to_have_one() -> None:
    result = call(None)
    assert result.exit_code == 1
    assert "the stack is not running. Start it with `signalbox up`" in result.stderr


def test_a_state_document_names_another_system(system: StandIn, tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_text(json.dumps({"urls": system.urls, "clock": 1.0}))
    found = document(call(None, "--endpoints", str(path), "--json"))
    assert found["windows"]["now"]["end"] - found["windows"]["now"]["start"] == pytest.approx(600)
