"""`signalbox profile`: a real process is looked into, and every way in which that fails is told in one line."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from stack import profile
from stack.errors import StackError, WrongUse
from stack.profile import Target, find_target, hottest
from stack.state import ComponentState, StackState

BUSY = "import time\ndef busy_with_numbers():\n    while True:\n        sum(range(10_000))\nbusy_with_numbers()\n"


def a_state(**pids: int | None) -> StackState:
    parts = [ComponentState(name.replace("_", "-"), pid=pid) for name, pid in pids.items()]
    return StackState(pid=1, created=0, started_at="", clock=1, replicas=2, port_offset=0, components=parts)


def test_a_process_is_found_by_service_replica_or_name():
    state = a_state(api_1=11, api_2=12, worker=13, payments=14)
    found = [find_target(state, *named) for named in (("api", None), ("api", 2), ("api-2", None), ("worker", None))]
    assert found == [Target("api-1", 11), Target("api-2", 12), Target("api-2", 12), Target("worker", 13)]


def test_what_cannot_be_found_is_said_with_what_there_is():
    with pytest.raises(WrongUse, match=r"no service 'apy'\. There are api, worker, payments"):
        find_target(a_state(api_1=11), "apy", None)
    with pytest.raises(WrongUse, match=r"no replica 3\. There are api-1, api-2"):
        find_target(a_state(api_1=11), "api", 3)
    with pytest.raises(StackError, match="api-1 does not run"):
        find_target(a_state(api_1=None), "api", None)


def test_a_missing_py_spy_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StackError, match="py-spy is not installed"):
        profile.record(Target("api-1", 1), 1, tmp_path / "x.svg", tick=lambda gone: None)


def test_words_of_py_spy_become_a_remedy():
    denied = profile._explain("Error: Failed to suspend process\nPermission Denied: Try running again", Target("x", 1))
    assert "ptrace_scope" in denied[1]
    gone = profile._explain("Error: Failed to open process 4194305\nNo such process", Target("x", 4194305))
    assert gone[0] == "x (process 4194305) is gone"
    assert profile._explain("", Target("x", 1))[0].startswith("py-spy failed")


def test_the_hottest_frames_are_the_repositorys_own():
    svg = (
        "<title>all (100 samples, 100%)</title><title>read (service/users/http.py:9) (40 samples, 40.00%)</title>"
        "<title>read (service/users/http.py:9) (10 samples, 10.00%)</title>"
        "<title>run (asyncio/x.py:1) (90 samples, 90%)</title>"
    )
    assert hottest(svg, 100) == [("read (service/users/http.py:9)", 40.0)]


@pytest.mark.processes
def test_a_live_process_is_profiled_and_lives_on(tmp_path: Path):
    with subprocess.Popen([sys.executable, "-c", BUSY]) as process:
        try:
            time.sleep(0.5)
            ticks: list[float] = []
            found = profile.record(Target("busy", process.pid), 2, tmp_path / "sub" / "busy.svg", tick=ticks.append)
            assert process.poll() is None
        finally:
            process.kill()
    assert found.samples > 20
    assert "busy_with_numbers" in Path(found.file).read_text()
    assert ticks == sorted(ticks)
    assert len(ticks) > 5


@pytest.mark.processes
def test_a_process_that_is_gone_or_ends_is_said(tmp_path: Path):
    with subprocess.Popen([sys.executable, "-c", BUSY]) as process:
        threading.Timer(2.5, process.kill).start()
        time.sleep(0.5)
        with pytest.raises(StackError, match=r"ended meanwhile\. What was seen until then"):
            profile.record(Target("short", process.pid), 10, tmp_path / "x.svg", tick=lambda gone: None)
    with pytest.raises(StackError, match=r"is gone|ended meanwhile"):
        profile.record(Target("short", process.pid), 1, tmp_path / "y.svg", tick=lambda gone: None)
