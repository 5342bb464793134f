"""The `signalbox` command as a person meets it: exit codes, one line for every error, one document for `--json`."""

import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from stack.cli import run
from stack.components import components
from stack.display import Lines, component_table
from stack.errors import StackError, WrongUse
from stack.faults import faulty, parse_parameters
from stack.layout import SIGN, Layout, parse_port_offset
from stack.native.control import purge
from stack.state import ComponentState, StackState

ROOT = Path(__file__).parents[3]
# Two runs of the tests do not meet, nor do they meet test_supervisor.py's rows or the ports that clients are given.
OFFSET = 5_000 + os.getpid() % 3_000


@dataclass(frozen=True)
class Answer:
    """What a person sees of one call."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def signalbox(tmp_path, monkeypatch, capsys):
    """Carries out command lines for a stack of its own, from a folder that is not the checkout."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SIGNALBOX_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("SIGNALBOX_PORT_OFFSET", str(OFFSET))
    before = signal.getsignal(signal.SIGTERM)

    def carry_out(*arguments: str, **environment: str) -> Answer:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        code = run(arguments)
        said = capsys.readouterr()
        return Answer(code, said.out, said.err)

    yield carry_out
    signal.signal(signal.SIGTERM, before)


def test_the_command_works_from_any_folder(tmp_path):
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "SIGNALBOX_STATE": str(tmp_path / "state")}
    command = [sys.executable, "-m", "stack", "status", "--json"]
    status = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)
    assert status.returncode == 1
    assert json.loads(status.stdout) == {"ready": False, "components": []}


def test_what_does_not_run_is_said_not_to_run(signalbox):
    status = signalbox("status", "--json")
    assert status.returncode == 1
    assert json.loads(status.stdout) == {"ready": False, "components": []}
    assert status.stderr == "signalbox: the stack is not running. Start it with `signalbox up`.\n"
    for words in (["urls"], ["fault", "list"], ["fault", "set", "charge-errors"], ["fault", "clear"]):
        answer = signalbox(*words)
        assert (answer.returncode, answer.stdout) == (1, "")
        assert answer.stderr == "signalbox: the stack is not running. Start it with `signalbox up`.\n"


def test_taking_down_nothing_is_no_error(signalbox, tmp_path):
    down = signalbox("down")
    assert (down.returncode, down.stderr) == (0, "Nothing was running.\n")
    assert not (tmp_path / "state").exists()
    assert json.loads(signalbox("down", "--purge", "--json").stdout) == {"stopped": False, "purged": True}


@pytest.mark.parametrize(
    ("words", "environment", "said"),
    [
        (["nonsense"], {}, "No such command 'nonsense'"),
        (["up", "--replicas", "many"], {}, "--replicas"),
        (["up", "--replicas", "0"], {}, "--replicas is 0. Give a number from 1 to 40"),
        (["up", "--clock", "0.5"], {}, "--clock is 0.5. Give a factor from 1 to 1000"),
        (["up"], {"SIGNALBOX_PORT_OFFSET": "lots"}, "SIGNALBOX_PORT_OFFSET is 'lots'. Give a number from 0 to"),
        (["logs", "nobody"], {}, "there is no log of 'nobody'. There are none: nothing ran yet"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_two(signalbox, words, environment, said):
    answer = signalbox(*words, **environment)
    assert answer.returncode == 2
    assert answer.stdout == ""
    assert said in answer.stderr
    assert answer.stderr.startswith("signalbox: ")
    assert answer.stderr.count("\n") == 1


def test_a_taken_port_is_named_before_anything_starts(signalbox, tmp_path):
    port = 9090 + OFFSET
    with socket.create_server(("127.0.0.1", port)):
        up = signalbox("up")
    assert up.returncode == 1
    assert up.stderr.startswith(f"signalbox: port {port} of prometheus is taken by ")
    assert f"(pid {os.getpid()})" in up.stderr
    assert up.stderr.endswith(". Stop it, or shift all ports with SIGNALBOX_PORT_OFFSET=2500.\n")
    assert list((tmp_path / "state" / "logs").iterdir()) == []


def test_a_folder_of_somebody_else_is_neither_used_nor_deleted(signalbox, tmp_path):
    theirs = tmp_path / "state" / "data"
    theirs.mkdir(parents=True)
    (theirs / "thesis.tex").write_text("years of work")
    up = signalbox("up")
    assert up.returncode == 1
    assert "holds files that are not Signalbox's. Point SIGNALBOX_STATE at an empty folder" in up.stderr
    assert signalbox("down", "--purge").returncode == 0
    assert (theirs / "thesis.tex").exists()


def test_purge_deletes_our_folder(tmp_path):
    layout = Layout(root=ROOT, state=tmp_path / "state")
    layout.make()
    (layout.data / "postgres").mkdir()
    purge(layout)
    assert not layout.state.exists()


def test_a_state_that_nobody_keeps_is_cleared_away_without_hurting_strangers(signalbox, tmp_path):
    layout = Layout(root=ROOT, state=tmp_path / "state")
    layout.make()
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        stale = {
            **{"pid": stranger.pid, "created": 1.0, "started_at": "", "clock": 1.0, "replicas": 2, "port_offset": 0},
            "ready": True,
            "components": [vars(ComponentState("loki", "ready", pid=stranger.pid, created=1.0))],
        }
        (layout.run / "state.json").write_text(json.dumps({**stale, "format": 1}))
        (layout.run / "supervisor.pid").write_text(json.dumps({"pid": stranger.pid, "created": 1.0}))
        assert signalbox("status").returncode == 1
        assert signalbox("down").returncode == 0
        assert stranger.poll() is None
        assert not (layout.run / "state.json").exists()
    finally:
        stranger.kill()
        stranger.wait()


def test_the_doctor_reports_every_check_with_a_verdict(signalbox):
    answer = signalbox("doctor", "--json")
    document = json.loads(answer.stdout)
    verdicts = {check["check"]: check["verdict"] for check in document["checks"]}
    assert set(verdicts.values()) <= {"ok", "warn", "fail"}
    assert {"python", "user", "state", "disk", "memory", "ports", "go", "prometheus", "postgres"} <= set(verdicts)
    assert document["ok"] == ("fail" not in verdicts.values()) == (answer.returncode == 0)
    assert all(check["remedy"] for check in document["checks"] if check["verdict"] == "fail")


def test_help_names_every_command(signalbox):
    words = signalbox("--help").stdout.split()
    for command in ("up", "down", "status", "urls", "logs", "doctor", "fault", "incident", "slo"):
        assert command in words


def test_logs_are_printed_from_their_end(signalbox, tmp_path):
    layout = Layout(root=ROOT, state=tmp_path / "state")
    layout.make()
    layout.log("worker").write_text("".join(f"line {number}\n" for number in range(10)))
    assert signalbox("logs", "worker", "-n", "2").stdout == "line 8\nline 9\n"
    assert json.loads(signalbox("logs", "worker", "-n", "2", "--json").stdout) == {
        "name": "worker",
        "lines": ["line 8", "line 9"],
    }
    assert "Leave one of the two out" in signalbox("logs", "worker", "--follow", "--json").stderr


def test_parameters_are_read_with_their_types():
    words = ["route=/v1/orders", "status=503", "percent=12.5", "scope=a=b"]
    assert parse_parameters(words) == {"route": "/v1/orders", "status": 503, "percent": 12.5, "scope": "a=b"}
    for wrong in ("status", "=5", ""):
        with pytest.raises(WrongUse):
            parse_parameters([wrong])


@pytest.mark.parametrize(("text", "offset"), [("0", 0), ("1000", 1000), ("48849", 48849)])
def test_an_offset_leaves_every_port_in_range(text, offset):
    assert parse_port_offset(text) == offset


@pytest.mark.parametrize("text", ["-1", "48850", "1e3", "", "¼"])
def test_an_offset_out_of_range_is_refused(text):
    with pytest.raises(WrongUse):
        parse_port_offset(text)


def test_faults_are_sought_where_they_can_be():
    parts = [
        ComponentState(part.name, "ready", pid=1, url=f"http://127.0.0.1:{next(iter(part.ports.values()))}")
        for part in components()
    ]
    state = StackState(1, 1.0, "", 1.0, 2, 0, components=parts)
    assert [process.name for process in faulty(state)] == ["api-1", "api-2", "worker", "payments", "faults"]
    assert [process.name for process in faulty(state, "api")] == ["api-1", "api-2"]
    assert [process.name for process in faulty(state, "api-2")] == ["api-2"]
    with pytest.raises(WrongUse, match=r"no running service is called 'loki'\. There are api, worker, payments"):
        faulty(state, "loki")


def test_progress_is_one_line_a_change_and_links_come_with_readiness():
    from rich.console import Console

    console = Console(width=40, no_color=True, force_terminal=False, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    loki = ComponentState("loki", "starting", url="http://127.0.0.1:3100", detail="refuses connections")
    lines = Lines(console)
    for phase, detail in (("starting", ""), ("building", "compiling 40 %"), ("building", "41 %"), ("ready", "")):
        loki.state, loki.detail = phase, detail
        lines.show(StackState(1, 1.0, "", 1.0, 2, 0, components=[loki]))
    assert console.export_text() == (
        "loki              building  compiling 40 %\nloki              ready     http://127.0.0.1:3100\n"
    )


def test_the_table_shows_links_of_what_is_ready_only():
    from rich.console import Console

    console = Console(width=120, no_color=True, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    ready = ComponentState("loki", "ready", "3.7.8", "cache:build", 42, "http://127.0.0.1:3100")
    failed = ComponentState("jaeger", "failed", url="http://127.0.0.1:16686", detail="exited with 1: [no] port")
    console.print(component_table([ready, failed]))
    text = console.export_text()
    assert "http://127.0.0.1:3100" in text
    assert "16686" not in text
    assert "exited with 1: [no] port" in text


def test_a_state_path_too_long_for_a_socket_gets_a_short_one(tmp_path):
    deep = Layout(root=ROOT, state=tmp_path / ("x" * 120))
    assert len(str(deep.socket("gateway"))) < 104
    deep.make()
    assert (deep.state / SIGN).exists()
    near = Layout(root=ROOT, state=Path("/tmp/s"))
    assert near.socket("gateway") == Path("/tmp/s/run/gateway.sock")


def test_an_error_is_one_sentence_with_its_remedy():
    assert str(StackError("it broke", "Mend it")) == "it broke. Mend it."
    assert str(StackError("it broke")) == "it broke."
