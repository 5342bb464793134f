"""`slo generate` as a person or a pipeline uses it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from slo.cli import app
from slo.emit.runbooks import CLOSING_MARK
from slo.publish import REPOSITORY

DEFINITIONS = REPOSITORY / "slo" / "definitions"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


@pytest.fixture
def definitions(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DEFINITIONS, tmp_path / "definitions"))


def test_what_is_committed_is_what_the_definitions_say() -> None:
    result = run("generate", "--check")
    assert result.exit_code == 0, result.output


def test_everything_is_written_and_then_nothing_is_stale(definitions: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    written = run("generate", "--definitions", str(definitions), "--out", str(out))
    assert written.exit_code == 0, written.output
    files = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert {"prometheus/slo-rules.yaml", "alertmanager/alertmanager.yml", "grafana/dashboards/slo.json"} <= files
    assert "runbooks/CheckoutAvailabilityBurnPage.md" in files
    assert {"prometheus/scaling-rules.yaml", "deploy/kubernetes/keda/api.yaml", "deploy/ecs/worker.json"} <= files
    assert run("generate", "--definitions", str(definitions), "--out", str(out), "--check").exit_code == 0


def test_a_stale_and_a_missing_file_fail_the_check_with_the_remedy(definitions: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ("generate", "--definitions", str(definitions), "--out", str(out))
    run(*arguments)
    (out / "prometheus/slo-rules.yaml").write_text("groups: []\n")
    (out / "alertmanager/alertmanager.yml").unlink()
    result = run(*arguments, "--check", "--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    states = {Path(file["path"]).name: file["state"] for file in document["files"] if file["state"] != "unchanged"}
    assert states == {"slo-rules.yaml": "stale", "alertmanager.yml": "missing"}
    assert document["ok"] is False
    assert (out / "prometheus/slo-rules.yaml").read_text() == "groups: []\n", "a check writes nothing"
    plain = run(*arguments, "--check")
    assert plain.exit_code == 1
    assert "slo-rules.yaml is stale. Run the same without --check." in plain.stderr


def test_what_people_wrote_into_a_runbook_survives(definitions: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ("generate", "--definitions", str(definitions), "--out", str(out))
    run(*arguments)
    runbook = out / "runbooks/CheckoutAvailabilityBurnPage.md"
    head = runbook.read_text().partition(CLOSING_MARK)[0]
    tampered = head.replace("## Impact", "## Impact, tampered")
    runbook.write_text(tampered + CLOSING_MARK + "\n\n## Mitigation\n\nAsk Ada.\n")
    run(*arguments)
    assert runbook.read_text() == head + CLOSING_MARK + "\n\n## Mitigation\n\nAsk Ada.\n"


MARK = CLOSING_MARK.encode()


@pytest.mark.parametrize(
    ("above", "closing", "below"),
    [
        (b"> Read this first: Ada knows.\n\n", MARK, b"\n\nMine.\n"),
        (b"", MARK, b"\r\n\r\nWritten elsewhere.\r\n"),
        (b"", MARK.replace(b'"', b"'"), b"\n\nFormatted.\n"),
        (b"", MARK, b"\n\nQuoted: " + MARK + b"\n\nand a copy of it:\n\n" + MARK + b"\n\nStill mine.\n"),
        (b"", MARK, b"\n\n\xff\xfe no text at all \x00\x80\n"),
        (b"", MARK, b""),
        (b"\xef\xbb\xbf", MARK, b"\n\nWith a byte order mark.\n"),
    ],
    ids=["above", "line ends", "quotes", "marks in the text", "no text", "nothing", "byte order mark"],
)
def test_hostile_edits_survive_byte_by_byte(
    definitions: Path, tmp_path: Path, above: bytes, closing: bytes, below: bytes
) -> None:
    arguments = ("generate", "--definitions", str(definitions), "--out", str(tmp_path / "out"))
    run(*arguments)
    runbook = tmp_path / "out/runbooks/CheckoutAvailabilityBurnPage.md"
    head = runbook.read_bytes().partition(MARK)[0]
    runbook.write_bytes(above + head.replace(b"## Meaning", b"## Meaning, tampered") + closing + below)
    for _ in range(2):
        assert run(*arguments).exit_code == 0
        assert runbook.read_bytes() == above + head + MARK + below


def test_a_runbook_that_lost_its_opening_mark_is_not_overwritten(definitions: Path, tmp_path: Path) -> None:
    arguments = ("generate", "--definitions", str(definitions), "--out", str(tmp_path / "out"))
    run(*arguments)
    runbook = tmp_path / "out/runbooks/CheckoutAvailabilityBurnPage.md"
    mine = "# My own\n\nEverything here is mine.\n\n" + CLOSING_MARK + "\n\nThis too.\n"
    runbook.write_text(mine)
    assert run(*arguments).exit_code == 1
    assert runbook.read_text() == mine


def test_a_runbook_without_the_mark_is_never_overwritten(definitions: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "runbooks").mkdir(parents=True)
    runbook = out / "runbooks/CheckoutAvailabilityBurnPage.md"
    runbook.write_text("all mine\n")
    result = run("generate", "--definitions", str(definitions), "--out", str(out))
    assert result.exit_code == 1
    assert "CheckoutAvailabilityBurnPage.md has no line" in result.stderr
    assert runbook.read_text() == "all mine\n"
    assert not (out / "prometheus").exists()


def test_a_wrong_definition_writes_nothing_and_is_reported_with_its_place(definitions: Path, tmp_path: Path) -> None:
    file = definitions / "checkout-availability.yaml"
    file.write_text(file.read_text().replace("target: 0.999", "target: 99.9"))
    out = tmp_path / "out"
    result = run("generate", "--definitions", str(definitions), "--out", str(out), "--json")
    assert result.exit_code == 1
    (finding,) = json.loads(result.stdout)["findings"]
    assert finding["severity"] == "error"
    assert finding["file"].endswith("checkout-availability.yaml")
    assert finding["field"] == "spec.objectives[0].target"
    assert file.read_text().splitlines()[finding["line"] - 1][finding["column"] - 1 :] == "99.9"
    assert not out.exists()


@pytest.mark.parametrize("clock", ["0.5", "61", "nan", "-1"])
def test_an_impossible_clock_is_wrong_use(clock: str, tmp_path: Path) -> None:
    assert run("generate", "--clock", clock, "--out", str(tmp_path)).exit_code == 2


def test_a_clock_never_overwrites_the_committed_rules() -> None:
    result = run("generate", "--clock", "20")
    assert result.exit_code == 2
    assert "--out" in result.stderr


def test_a_folder_that_cannot_be_written_is_one_line(definitions: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    result = run("generate", "--definitions", str(definitions), "--out", str(tmp_path / "out"))
    assert result.exit_code == 1
    assert len(result.stderr.strip().splitlines()) == 1
    assert result.stderr.startswith("signalbox: ")


def test_definitions_of_another_project_need_a_folder_of_their_own() -> None:
    others = REPOSITORY / "examples" / "slo-standalone" / "definitions"
    result = run("generate", "--definitions", str(others), "--check")
    assert result.exit_code == 1
    assert result.stderr.strip().splitlines()[-1].endswith("Name a folder of their own with --out.")
