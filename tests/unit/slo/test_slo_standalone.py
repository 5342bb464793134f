"""examples/slo-standalone: the commands of its README do what it says, and need no service of this repository."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from slo.cli import app
from slo.publish import REPOSITORY

EXAMPLE = REPOSITORY / "examples" / "slo-standalone"
COMMANDS = re.findall(r"^\$ \.venv/bin/python -m slo (.+)$", (EXAMPLE / "README.md").read_text(), re.MULTILINE)
NEED_OTHERS = ("status", "import")  # a Prometheus, and files that nobody has here


def run(command: str, **places: Path) -> Result:
    words = [str(places.get(word, word)) for word in shlex.split(command)]
    return CliRunner().invoke(app, words)


@pytest.fixture(autouse=True)
def _from_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.split()[0] not in (*NEED_OTHERS, "plan")])
def test_what_the_readme_shows_works(command: str, tmp_path: Path) -> None:
    result = run(command, **{"/tmp/bookings": tmp_path / "out"})
    assert result.exit_code == 0, result.output
    assert result.stdout


def test_the_readme_shows_every_command() -> None:
    assert {command.split()[0] for command in COMMANDS} == {
        "generate", "lint", "explain", "simulate", "plan", "status", "import",
    }  # fmt: skip


def test_only_files_of_the_other_project_are_written(tmp_path: Path) -> None:
    run(COMMANDS[0], **{"/tmp/bookings": tmp_path / "out"})
    files = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert {"prometheus/slo-rules.yaml", "alertmanager/alertmanager.yml", "grafana/dashboards/slo.json"} <= files
    runbooks = [Path(file).name for file in files if file.startswith("runbooks/")]
    assert {"BookingSuccessBurnPage.md", "SearchLatencyBurnTicket.md", "SearchLatencyNoData.md"} <= set(runbooks)
    assert all(name.startswith(("BookingSuccess", "SearchLatency")) for name in runbooks)
    assert run(f"{COMMANDS[0]} --check", **{"/tmp/bookings": tmp_path / "out"}).exit_code == 0


def test_the_missing_bucket_edge_of_the_readme_is_found(tmp_path: Path) -> None:
    text = (EXAMPLE / "definitions" / "bookings.yaml").read_text()
    (tmp_path / "bookings.yaml").write_text(text.replace('le="0.5"', 'le="0.4"'))
    result = run(f"lint --definitions {tmp_path} --metrics bookings={EXAMPLE / 'metrics.txt'} --json")
    assert result.exit_code == 1
    (finding,) = json.loads(result.stdout)["findings"]
    assert (finding["code"], finding["remedy"]) == ("SB203", "Next to it lie 0.1, 0.5, 2")
