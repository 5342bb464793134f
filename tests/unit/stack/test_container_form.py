"""The container form as a person meets it: which form is taken, and the engine's words as the stack's state."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from stack import form
from stack.backends import load_pins
from stack.components import components
from stack.container import engine
from stack.container.addresses import host_ports, published
from stack.container.control import SIGN, named
from stack.container.engine import Container, Engine
from stack.container.observe import observe, phase_of
from stack.container.prepare import read_clock
from stack.errors import StackError, WrongUse
from stack.layout import Layout
from stack.native.launch import Wish
from stack.state import StackState

ROOT = Path(__file__).parents[3]
RUNNING = Container(
    "1f", "pager", "signalbox:0.1.0", "running", "healthy", 0, 0, 0, "2026-01-01T00:00:00.5Z", "", False
)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(ROOT, tmp_path / "state", 1000)
    made.make()
    return made


def everything(**changes: object) -> list[Container]:
    names = [part.name for part in components() if not part.optional] + ["loopback"]
    return [replace(RUNNING, service=name, **changes) for name in names]


def state_of(layout: Layout, containers: list[Container]) -> StackState:
    state = observe(layout, Wish(clock=20.0, number=3), containers)
    assert state is not None
    return state


# Which form


def test_what_is_said_goes_before_what_an_engine_says(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "answers", lambda: True)
    monkeypatch.setattr(engine, "why_not", lambda: None)
    monkeypatch.setattr(Engine, "cannot_have", lambda self: None)
    monkeypatch.delenv("SIGNALBOX_FORM")
    assert form.choose(layout, None) is form.FORMS["compose"]
    assert form.choose(layout, "native") is form.FORMS["native"]
    monkeypatch.setenv("SIGNALBOX_FORM", "native")
    assert form.choose(layout, None) is form.FORMS["native"]
    assert form.choose(layout, "compose") is form.FORMS["compose"]


def test_an_engine_that_cannot_have_the_images_is_no_reason_to_fail(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("SIGNALBOX_FORM")
    monkeypatch.setattr(engine, "answers", lambda: True)
    grafana = load_pins()["grafana"].image  # the stack does without it
    monkeypatch.setattr(engine, "_run", lambda command, **_: f"signalbox:0.1.0\n{grafana}\ncaddy:2\nhaproxy:3\n")
    monkeypatch.setattr(Engine, "has_image", lambda self, image: image == "caddy:2")
    monkeypatch.setattr(Engine, "pull", lambda self, image: False)
    assert form.choose(layout, None) is form.FORMS["native"]
    assert "haproxy:3 cannot be pulled" in capsys.readouterr().err
    monkeypatch.setattr(Engine, "pull", lambda self, image: image == "haproxy:3")
    assert form.choose(layout, None) is form.FORMS["compose"]


def test_without_an_engine_it_is_native_and_wanting_containers_is_refused_with_the_reason(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("SIGNALBOX_FORM")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert form.choose(layout, None) is form.FORMS["native"]
    with pytest.raises(StackError, match="there is no `docker` command"):
        form.choose(layout, "compose")


def test_later_commands_find_the_form_that_was_brought_up_without_asking_an_engine(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("SIGNALBOX_FORM")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert form.find(layout) is form.FORMS["native"]
    (layout.run / SIGN).write_text("compose\n")
    assert form.find(layout) is form.FORMS["compose"]


def test_a_form_that_does_not_exist_is_wrong_use(layout: Layout) -> None:
    with pytest.raises(WrongUse, match=r"--form is 'podman'\. Write native or compose"):
        form.choose(layout, "podman")


# What the engine tells


def test_a_stack_is_ready_when_all_that_it_needs_is_healthy_and_the_way_in_too(layout: Layout) -> None:
    state = state_of(layout, everything())
    assert state.ready
    assert (state.clock, state.wish, state.port_offset) == (20.0, 3, 1000)
    assert state.urls["pager"] == "http://127.0.0.1:9170"
    assert state.urls["grafana"] is None
    absent = state.named("grafana")
    assert absent is not None
    assert absent.state == "absent"
    assert "cannot be pulled" in absent.detail
    without_a_way_in = [one for one in everything() if one.service != "loopback"]
    assert not state_of(layout, without_a_way_in).ready


def test_no_container_is_no_stack(layout: Layout) -> None:
    assert observe(layout, Wish(), []) is None


@pytest.mark.parametrize(
    ("changes", "phase", "detail"),
    [
        ({}, "ready", ""),
        ({"health": ""}, "ready", ""),
        ({"health": "starting", "said": "refuses"}, "starting", "refuses"),
        ({"health": "unhealthy", "said": "503"}, "failed", "does not answer as it should: 503"),
        ({"status": "created"}, "starting", "waits for what it needs"),
        ({"status": "exited", "exit_code": 2}, "failed", "exited with 2"),
        ({"status": "restarting", "exit_code": 1, "restarts": 1}, "starting", "exited with 1 and starts again"),
        ({"status": "restarting", "exit_code": 1, "restarts": 3}, "failed", "exited with 1 and starts again"),
        ({"status": "paused"}, "failed", "is paused"),
    ],
)
def test_the_engines_words_become_the_stacks(changes: dict[str, object], phase: str, detail: str) -> None:
    assert phase_of(replace(RUNNING, **changes)) == (phase, detail)


def test_a_stand_in_is_told_from_an_official_image(layout: Layout) -> None:
    state = state_of(layout, [*everything(is_stand_in=True)])
    assert {part.source for part in state.components if part.state == "ready"} == {"stand-in"}
    assert {part.source for part in state_of(layout, everything()).components if part.state == "ready"} == {"image"}


@pytest.mark.parametrize("digest", ["", f"@sha256:{'0' * 64}"])
def test_a_version_is_what_the_tag_says_whether_or_not_a_digest_stands_behind_it(layout: Layout, digest: str) -> None:
    state = state_of(layout, everything(image=f"registry:5000/prom/prometheus:v3.14.0{digest}"))
    assert {part.version for part in state.components if part.state == "ready"} == {"3.14.0"}


def test_components_are_named_by_service_too(layout: Layout) -> None:
    state = state_of(layout, everything())
    assert named(state, ["api"]) == ["api-1", "api-2"]
    with pytest.raises(WrongUse, match="there is no component 'moon'"):
        named(state, ["moon"])


def test_two_checkouts_at_different_ports_are_two_projects(layout: Layout) -> None:
    assert Engine(layout).project == "signalbox-1000"
    assert Engine(replace(layout, port_offset=0)).project == "signalbox"
    assert host_ports(layout)["SIGNALBOX_PORT_GATEWAY"] == "9080"
    assert len(host_ports(layout)) == len(published())


def test_what_a_component_is_given_on_top_of_its_own_lies_on_top_of_the_checked_in_file(layout: Layout) -> None:
    layout.make()
    plain = Wish()
    assert [word for word in Engine(layout).compose(plain, "up") if word == "--file"] == ["--file"]
    wish = plain.overridden("api-1", {"A": "1"}).overridden("api-2", {"B": "2"}).overridden("api-1", None)
    command = Engine(layout).compose(wish, "up")
    first, second = [command[at + 1] for at, word in enumerate(command) if word == "--file"]
    assert first.endswith("/docker-compose.yml")
    assert json.loads(Path(second).read_text()) == {"services": {"api-2": {"environment": {"B": "2"}}}}


@pytest.mark.parametrize("text", ["0", "1001", "fast", "nan"])
def test_a_clock_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(WrongUse, match="SIGNALBOX_CLOCK"):
        read_clock({"SIGNALBOX_CLOCK": text})
    assert read_clock({}) == 1.0


# The shell at the head of our containers


def shell(tmp_path: Path, *command: str) -> list[str]:
    """The entrypoint of docker-compose.yml as it stands there, with its folders here and its patience short."""
    script: str = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["x-run"].replace("$$", "$")
    for there, here in (
        ("/run/secrets/", f"{tmp_path}/"),
        ("/tmp/log", f"{tmp_path}/pipe"),
        ("/var/log/signalbox", str(tmp_path)),
        ("sleep 10", "sleep 0.1"),
        ("52428800", "2000"),
    ):
        assert there in script
        script = script.replace(there, here)
    return ["sh", "-ceu", script, "part", *command]


def test_what_a_process_writes_is_on_its_standard_output_and_in_its_file(tmp_path: Path) -> None:
    (tmp_path / "service.env").write_text("PASSWORD='of the file'\n")
    command = shell(tmp_path, "sh", "-c", 'echo "${PASSWORD:-none}"; echo complaint >&2; exit 3')
    theirs = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert theirs.stdout.startswith("none\n"), "the passwords are for processes of ours"
    (tmp_path / "part.log").unlink()
    ours = {**os.environ, "SIGNALBOX_ENVIRONMENT": "development"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False, env=ours)
    assert done.returncode == 3
    assert done.stdout == "of the file\ncomplaint\n"
    assert (tmp_path / "part.log").read_text() == done.stdout


def test_a_process_that_is_told_to_end_ends_in_its_way_and_its_last_words_are_kept(tmp_path: Path) -> None:
    script = "trap 'sleep 0.3; echo drained; exit 7' TERM; echo serving; while :; do sleep 0.05; done"
    with subprocess.Popen(shell(tmp_path, "sh", "-c", script), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "serving\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "drained\n"
        assert process.wait(20) == 7
    assert (tmp_path / "part.log").read_text() == "serving\ndrained\n"


def test_the_signal_by_which_postgresql_ends_fast_reaches_it_as_it_is(tmp_path: Path) -> None:
    script = (
        "import signal, time; signal.signal(signal.SIGINT, lambda *_: exit(5)); print('on', flush=True); time.sleep(9)"
    )
    with subprocess.Popen(shell(tmp_path, sys.executable, "-c", script), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "on\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(5) == 5


def test_a_signal_of_the_first_moment_is_passed_on_once(tmp_path: Path) -> None:
    """The shell is told to end by what it has just started, so mostly before it waits for that."""
    script = (
        "import os, signal, sys, time; told = []; signal.signal(signal.SIGTERM, lambda *_: told.append(1)); "
        "os.kill(os.getppid(), signal.SIGTERM); time.sleep(0.3); sys.exit(8 + len(told))"
    )
    for _ in range(5):
        command = shell(tmp_path, sys.executable, "-S", "-E", "-c", script)
        assert subprocess.run(command, timeout=20, check=False).returncode == 9


@pytest.mark.processes
def test_a_log_that_has_grown_is_put_aside_and_begun_anew(tmp_path: Path) -> None:
    script = "i=0; while [ $i -lt 400 ]; do echo a line of some length; i=$((i+1)); sleep 0.01; done"
    with subprocess.Popen(shell(tmp_path, "sh", "-c", script), stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while not (tmp_path / "part.log.1").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.wait(60)
    assert (tmp_path / "part.log").stat().st_size < 400 * len("a line of some length\n")
