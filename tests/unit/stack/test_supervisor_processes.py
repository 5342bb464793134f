"""Processes are started alone, told from strangers, and ended for certain."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from stack.errors import StackError
from stack.native.locks import Taken, held, is_held
from stack.native.processes import (
    MARK,
    Identity,
    end_all,
    identify,
    last_lines,
    last_words,
    marked,
    obituary,
    rotate,
    run_to_end,
    start_child,
)

pytestmark = pytest.mark.processes


def until(condition, what: str, timeout_s: float = 10.0):
    """Poll until the condition is true; says what was waited for when it is not."""
    deadline = time.monotonic() + timeout_s
    while not (result := condition()):
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(0.02)
    return result


def test_a_child_gets_exactly_the_environment_it_is_given_and_a_session_of_its_own(tmp_path):
    code = "import json, os; print(json.dumps([dict(os.environ), os.getpid() == os.getsid(0) == os.getpgrp()]))"

    async def run() -> int:
        child = await start_child(
            [sys.executable, "-c", code], env={"ONLY": "this"}, cwd=tmp_path, log=tmp_path / "log"
        )
        return await child.wait()

    assert asyncio.run(run()) == 0
    environment, leads = json.loads((tmp_path / "log").read_text())
    environment.pop("LC_CTYPE", None)  # set by the interpreter itself
    assert environment == {"ONLY": "this"}
    assert leads


def test_a_program_that_is_not_there_is_said_so(tmp_path):
    with pytest.raises(StackError, match="nothing-here cannot start: No such file"):
        asyncio.run(run_to_end([str(tmp_path / "nothing-here")], env={}, cwd=tmp_path, log=tmp_path / "log"))


def test_a_command_that_fails_is_reported_with_its_last_words(tmp_path):
    command = [sys.executable, "-c", "import sys; sys.exit('no such table')"]
    with pytest.raises(StackError, match="exited with 1: no such table"):
        asyncio.run(run_to_end(command, env={}, cwd=tmp_path, log=tmp_path / "log"))


def test_a_command_reads_what_it_is_given(tmp_path):
    asyncio.run(run_to_end(["cat"], env={"PATH": os.defpath}, cwd=tmp_path, log=tmp_path / "log", given="select 1;"))
    assert (tmp_path / "log").read_text() == "select 1;"


def test_a_cancelled_command_leaves_nothing_behind(tmp_path):
    async def run() -> None:
        command = ["sh", "-c", "sleep 60 & echo $!; wait"]
        running = asyncio.create_task(
            run_to_end(command, env={"PATH": os.environ["PATH"]}, cwd=tmp_path, log=tmp_path / "log")
        )
        await asyncio.to_thread(until, lambda: last_lines(tmp_path / "log"), "the grandchild's pid")
        running.cancel()
        await asyncio.wait({running})

    asyncio.run(run())
    grandchild = int((tmp_path / "log").read_text())
    until(lambda: not psutil.pid_exists(grandchild) or psutil.Process(grandchild).status() == "zombie", "its end")


def test_one_that_ignores_the_polite_signal_is_killed_with_all_it_started(tmp_path):
    code = "import signal, subprocess, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    code += "print(subprocess.Popen(['sleep', '60']).pid, flush=True); time.sleep(60)"

    async def run() -> float:
        child = await start_child(
            [sys.executable, "-c", code], env={"PATH": os.environ["PATH"]}, cwd=tmp_path, log=tmp_path / "log"
        )
        await asyncio.to_thread(until, lambda: last_lines(tmp_path / "log"), "the grandchild's pid")
        begin = time.monotonic()
        await child.stop(signal.SIGTERM, 0.3)
        return time.monotonic() - begin

    assert 0.3 <= asyncio.run(run()) < 5
    grandchild = int((tmp_path / "log").read_text())
    until(lambda: not psutil.pid_exists(grandchild) or psutil.Process(grandchild).status() == "zombie", "its end")


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends orphans on Linux only")
def test_a_child_dies_with_a_parent_that_was_killed(tmp_path):
    code = """
import asyncio, sys
from pathlib import Path
from stack.native.processes import start_child

async def main():
    log = Path(sys.argv[1])
    child = await start_child(["sleep", "60"], env={"PATH": "/usr/bin:/bin"}, cwd=log.parent, log=log)
    print(child.pid, flush=True)
    await child.wait()

asyncio.run(main())
"""
    root = Path(__file__).parents[3]
    command = [sys.executable, "-c", code, str(tmp_path / "log")]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root)
    assert parent.stdout
    child = identify(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert child
    until(lambda: child.process() is None, "the end of the orphan")


def test_a_pid_that_is_somebody_else_s_by_now_is_left_alone():
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        assert end_all([Identity(stranger.pid, created=12345.0)], grace_s=0.2) == []
        assert stranger.poll() is None
        ours = identify(stranger.pid)
        assert ours
        assert end_all([ours], grace_s=2.0) == [stranger.pid]
        assert ours.process() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_whatever_carries_the_mark_is_found_and_nothing_else(tmp_path):
    ours = subprocess.Popen(["sleep", "60"], env={**os.environ, MARK: str(tmp_path)})
    other = subprocess.Popen(["sleep", "60"], env={**os.environ, MARK: str(tmp_path / "other")})
    try:
        until(lambda: marked(tmp_path), "a marked process")
        assert [identity.pid for identity in marked(tmp_path)] == [ours.pid]
    finally:
        for process in (ours, other):
            process.kill()
            process.wait()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("plain words", "plain words"),
        ('{"severity": "ERROR", "message": "no database"}', "no database"),
        ('{"level": "fatal", "msg": "bad config"}', "bad config"),
        ('{"neither": 1}', '{"neither": 1}'),
        ('level=error ts=2026-01-01 caller=main.go:1 msg="unable to \\"bind\\"" err=x', 'unable to \\"bind\\"'),
        ("x" * 500, "x" * 239 + "…"),
    ],
)
def test_last_words_are_the_message_whatever_the_format(tmp_path, line, words):
    (tmp_path / "log").write_text(f"before\n{line}\n\n")
    assert last_words(tmp_path / "log") == words


def test_the_obituary_quotes_only_those_who_ended_by_themselves(tmp_path):
    (tmp_path / "log").write_text("all is well\n")
    assert obituary(3, tmp_path / "log") == "exited with 3: all is well"
    assert obituary(-9, tmp_path / "log") == "was ended by SIGKILL"
    assert obituary(-11, tmp_path / "log") == "crashed by SIGSEGV: all is well"


def test_a_log_that_grew_too_large_is_emptied_in_place_while_its_writer_goes_on(tmp_path):
    log = tmp_path / "api-1.log"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"old\n" * 100)
        assert rotate(log, most_bytes=399)
        writer.write(b"new\n")
    assert (tmp_path / "api-1.log.1").read_bytes() == b"old\n" * 100
    assert log.read_bytes() == b"new\n"
    assert not rotate(log, most_bytes=399)


def test_a_lock_is_held_by_one_and_let_go_by_the_dead(tmp_path):
    path = tmp_path / "lock"
    code = "import sys; from pathlib import Path; from stack.native.locks import held\n"
    code += "with held(Path(sys.argv[1])): print('held', flush=True); input()"
    root = Path(__file__).parents[3]
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=root,
    )
    assert holder.stdout
    assert holder.stdin
    assert holder.stdout.readline() == "held\n"
    assert is_held(path)
    with pytest.raises(Taken), held(path, wait_s=0.1):
        pass
    holder.kill()
    holder.communicate()
    assert not is_held(path)
