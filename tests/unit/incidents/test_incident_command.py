"""`python -m incidents` and the prober as processes: exit codes, one document, and nothing left broken by a signal."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import SCENARIO
from stand_in import StandIn

from incidents.cli import app
from incidents.prober import SCHEDULE

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parent.parent.parent.parent


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of scenarios in place of those that are shipped."""
    path = tmp_path / "scenarios"
    path.mkdir()
    (path / "brief.yaml").write_text(SCENARIO)
    return path


@pytest.fixture
def state(system: StandIn, tmp_path: Path) -> Path:
    path = tmp_path / "state.json"
    path.write_text(json.dumps({"clock": 20, "urls": system.urls, "components": []}))
    return path


@pytest.fixture
def call(
    folder: Path, state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """The command in this process: its exit code and what it printed."""
    monkeypatch.setattr("incidents.scenario_file.FOLDER", folder)
    monkeypatch.setenv("SIGNALBOX_STATE_JSON", str(state))
    monkeypatch.setenv("COLUMNS", "150")
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            app(list(arguments), prog_name="incidents")
        return int(ended.value.code or 0), *capsys.readouterr()

    return run


def test_the_list_names_every_incident_and_its_twin(call: Callable[..., tuple[int, str, str]]) -> None:
    code, output, _ = call("list", "--json")
    assert code == 0
    entries = json.loads(output)["incidents"]
    assert [(entry["id"], entry["twin_of"]) for entry in entries] == [("brief", None), ("brief-twin", "brief")]
    assert (entries[0]["cause"], entries[0]["last"]) == ({"component": "payments", "kind": "errors"}, None)
    assert "never run" in call("list")[1]


def test_all_incidents_and_twins_make_a_table_and_are_not_run_twice(
    call: Callable[..., tuple[int, str, str]], system: StandIn, tmp_path: Path
) -> None:
    results = tmp_path / "results.json"
    code, output, told = call("run", "--all", "--json", "--results", str(results))
    (row,) = json.loads(output)["incidents"]
    assert (row["runs"], row["in_time"], row["twins"], row["twin_pages"]) == (1, 1, 1, 0), told
    assert code == 0
    assert json.loads(results.read_text())["incidents"] == [row]
    begun = len(system.history)
    code, output, _ = call("run", "--all", "--results", str(results))
    assert (code, len(system.history)) == (0, begun), "what is done is not done again"
    assert "kept" in output
    assert "held" in call("list")[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run",), "name an incident, or say --all"),
        (("run", "brief", "--all"), "leave ID, --seed and --keep out"),
        (("run", "--all", "--seed", "3"), "leave ID, --seed and --keep out"),
        (("run", "--all", "--seeds", "6-4"), "a number or a range such as 4-6"),
        (("run", "--all", "--results", "here.json", "--results", "typo.json"), "there are no results in typo.json"),
    ],
)
def test_one_incident_or_all_of_them(
    call: Callable[..., tuple[int, str, str]], arguments: tuple[str, ...], words: str
) -> None:
    code, _, errors = call(*arguments)
    assert code == 2
    assert words in errors


def test_a_run_prints_one_document_and_nothing_else(call: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    code, output, errors = call("run", "brief", "--json", "--seed", "3")
    assert (code, errors) == (0, "")
    document = json.loads(output)
    assert document["verdict"] == "held"
    report = tmp_path / document["report"]
    assert report.name == "report.html"
    assert json.loads(report.with_name("evidence.json").read_text())["seed"] == 3


def test_a_person_sees_the_phases_and_why_it_failed(call: Callable[..., tuple[int, str, str]], system: StandIn) -> None:
    system.pages_after_s = None
    code, output, errors = call("run", "brief")
    assert (code, output) == (1, "")
    for words in ("baseline", "onset", "watch", "mitigation", "recovery", "no page within 1.1 s"):
        assert words in errors
    assert errors.splitlines()[-1].startswith("signalbox: brief failed: CheckoutAvailabilityBurnPage: no page arrived")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["run", "unheard-of"], 2, "there is no incident 'unheard-of'. Known: brief, brief-twin"),
        (["run", "brief", "--clock", "5"], 1, "runs at clock 20, not at 5"),
        (["run", "brief", "--endpoints", "/nowhere"], 2, "/nowhere is not a state document"),
        (["run", "brief", "--seed", "-1"], 2, "seed"),
        (["run"], 2, "name an incident, or say --all"),
    ],
)
def test_wrong_use_is_told_with_a_remedy(
    call: Callable[..., tuple[int, str, str]], arguments: list[str], code: int, words: str
) -> None:
    returned, output, errors = call(*arguments)
    assert (returned, output) == (code, "")
    assert words in errors


def test_a_broken_scenario_is_told_by_its_line(call: Callable[..., tuple[int, str, str]], folder: Path) -> None:
    (folder / "broken.yaml").write_text("id: broken")
    code, output, errors = call("list")
    assert (code, output) == (2, "")
    assert all(line.startswith(f"signalbox: {folder}/broken.yaml:1: ") for line in errors.splitlines())


@pytest.fixture
def start(folder: Path, state: Path, tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """The command as a process of its own, for what signals do to it."""
    script = (
        "import pathlib, sys\n"
        "from incidents import cli, run, scenario_file\n"
        "run.STEADY_S = 0.0\n"
        f"scenario_file.FOLDER = pathlib.Path({str(folder)!r})\n"
        "cli.app()"
    )

    def run(*arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", script, *arguments, "--out", str(tmp_path / "out")],
            cwd=ROOT,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"PATH": "/usr/bin:/bin", "SIGNALBOX_STATE_JSON": str(state)},
        )

    return run


def finished(process: subprocess.Popen[str], timeout_s: float = 30) -> tuple[int, str, str]:
    output, errors = process.communicate(timeout=timeout_s)
    return process.returncode, output, errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_clears_the_fault_and_stops_the_load(
    start: Callable[..., subprocess.Popen[str]], system: StandIn, number: signal.Signals
) -> None:
    system.pages_after_s = None
    process = start("run", "brief")
    wait_until(lambda: system.broken)
    process.send_signal(number)
    code, _, errors = finished(process)

    assert code == 130
    assert errors.splitlines()[-1] == "signalbox: interrupted: faults are cleared and the load has stopped."
    assert not system.broken
    before = system.requests
    time.sleep(0.5)
    assert system.requests == before


def test_a_fault_that_cannot_be_cleared_is_told_to_who_interrupted(
    start: Callable[..., subprocess.Popen[str]], system: StandIn
) -> None:
    system.stubborn = True
    process = start("run", "brief")
    wait_until(lambda: system.broken)
    process.send_signal(signal.SIGINT)
    code, _, errors = finished(process)

    assert code == 130
    assert "signalbox: interrupted: a fault could not be cleared (payments answered 500" in errors.splitlines()[-1]
    assert "Clear it by hand" in errors.splitlines()[-1]


def test_keep_leaves_the_incident_open_until_the_signal(
    start: Callable[..., subprocess.Popen[str]], system: StandIn
) -> None:
    process = start("run", "brief", "--keep", "--json")
    wait_until(lambda: bool(system.pages))
    time.sleep(4)  # longer than every deadline before the mitigation, also on a machine that does much else
    assert system.broken
    process.send_signal(signal.SIGINT)
    code, output, _ = finished(process)
    assert code == 0, output
    assert json.loads(output)["verdict"] == "held"
    assert not system.broken


def test_the_caller_may_give_the_system_instead(state: Path, system: StandIn, tmp_path: Path) -> None:
    """As the `signalbox` command does: endpoints and a callable that has the stack up at the clock wanted."""
    asked: list[float] = []

    def ensure(clock: float) -> dict[str, Any]:
        asked.append(clock)
        return {"urls": system.urls, "clock": clock, "components": [{"name": "gateway", "version": "1"}]}

    system.faults["charge-latency"] = {}  # so that the run is refused at once
    system.pages_after_s = None
    given = {"endpoints": {}, "clock": 1.0, "ensure": ensure}
    arguments = ["run", "downstream-errors", "--json", "--out", str(tmp_path / "out")]
    assert app(arguments, obj=given, standalone_mode=False) == 1
    assert asked == [20.0]


# The prober.


def probing(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "incidents.prober", *arguments], cwd=ROOT, text=True, stderr=subprocess.PIPE
    )


def read_counts(port: int) -> dict[str, int]:
    text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=2).read().decode()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {line.split('"')[1]: int(line.split()[-1]) for line in lines}


def counts_or_nothing(port: int) -> dict[str, int]:
    try:
        return read_counts(port)
    except OSError:
        return {}


def test_the_prober_lives_through_an_outage_and_leaves_when_told(system: StandIn, free_port: int) -> None:
    process = probing("--gateway", system.urls["gateway"], "--port", str(free_port))
    try:
        wait_until(lambda: counts_or_nothing(free_port).get("good", 0) >= 3)
        system.down.add("gateway")
        wait_until(lambda: read_counts(free_port)["bad"] >= 2)
        system.down.clear()
        good = read_counts(free_port)["good"]
        wait_until(lambda: read_counts(free_port)["good"] > good)
        for path in ("/livez", "/readyz"):
            assert urllib.request.urlopen(f"http://127.0.0.1:{free_port}{path}", timeout=2).status == 200
        resident = Path(f"/proc/{process.pid}/status")
        if resident.exists():
            (line,) = (line for line in resident.read_text().splitlines() if line.startswith("VmRSS"))
            assert int(line.split()[1]) < 40 * 1024
    finally:
        process.terminate()
    assert process.wait(timeout=5) == 0
    assert process.communicate()[1] == ""


def test_a_prober_without_its_port_says_so(system: StandIn) -> None:
    taken = system.base.rpartition(":")[2]
    process = probing("--gateway", system.urls["gateway"], "--port", taken)
    assert process.wait(timeout=10) == 1
    assert "Choose another --port" in process.communicate()[1]


def test_the_prober_sends_two_and_a_half_requests_a_second() -> None:
    assert sum(1 / every_s for _, every_s, _ in SCHEDULE) == 2.5


def wait_until(enough: Callable[[], bool], deadline_s: float = 15) -> None:
    ends = time.monotonic() + deadline_s
    while not enough():
        assert time.monotonic() < ends, "did not happen in time"
        time.sleep(0.05)
