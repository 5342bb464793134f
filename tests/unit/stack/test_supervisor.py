"""A supervisor of small real processes: what it starts, in which order, what it does when they die, and how it ends."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from stack.layout import Layout
from stack.native.launch import Wish, write_wish
from stack.native.processes import Identity, marked
from stack.state import StackState, read_state

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parents[3]
TINY_STACK = Path(__file__).with_name("tiny_stack.py")


class Tiny:
    """The supervisor under test and what can be seen of it from outside."""

    def __init__(self, folder: Path) -> None:
        self.layout = Layout(root=ROOT, state=folder)
        self.layout.make()
        self.wish = Wish()
        self.process: subprocess.Popen[bytes] | None = None
        self.claim: socket.socket | None = None

    def release(self) -> None:
        if self.claim is not None:
            self.claim.close()

    def start(self, replicas: int = 2) -> None:
        self.wish_for(replicas)
        self.release()
        first, self.claim = claim_ports()
        command = [sys.executable, str(TINY_STACK), str(self.layout.state), str(first)]
        with self.layout.log("supervisor").open("ab") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)

    def wish_for(self, replicas: int) -> None:
        self.wish = Wish(replicas=replicas, number=self.wish.number + 1)
        write_wish(self.layout, self.wish)
        if self.process is not None:
            self.process.send_signal(signal.SIGHUP)

    def restart(self, name: str) -> None:
        restarts = {**self.wish.restarts, name: self.wish.restarts.get(name, 0) + 1}
        self.wish = replace(self.wish, number=self.wish.number + 1, restarts=restarts)
        write_wish(self.layout, self.wish)
        assert self.process
        self.process.send_signal(signal.SIGHUP)

    def state(self) -> StackState | None:
        return read_state(self.layout.run / "state.json")

    def component(self, name: str):
        state = self.state()
        return state.named(name) if state else None

    def diary(self) -> list[str]:
        path = self.layout.state / "diary"
        return path.read_text().splitlines() if path.exists() else []

    def until(self, condition: Callable[[], object], what: str, timeout_s: float = 20.0):
        deadline = time.monotonic() + timeout_s
        while not (result := condition()):
            if time.monotonic() > deadline:
                log = self.layout.log("supervisor").read_text()[-3000:]
                pytest.fail(f"not within {timeout_s} s: {what}\n{self.state()}\n{self.diary()}\n{log}")
            time.sleep(0.02)
        return result

    def until_ready(self) -> StackState:
        def ready():
            state = self.state()
            return state if state and state.ready and state.wish == self.wish.number else None

        return self.until(ready, "ready")

    def end(self) -> None:
        assert self.process
        self.process.terminate()
        self.process.wait(20)

    def flag(self, name: str) -> Path:
        """A file that changes how a component behaves while it is there."""
        path = self.layout.state / name
        path.touch()
        return path


def claim_ports(count: int = 10) -> tuple[int, socket.socket]:
    """The first of that many ports in a row on which nobody listens, and what keeps others away from the row.

    What the servers of another worker of this run will listen on in a moment is still free now: so whoever has a row
    holds the port after it.
    """
    for first in range(25000, 32000, count + 1):
        claim = socket.socket()
        try:
            claim.bind(("127.0.0.1", first + count))
            for port in range(first, first + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            claim.close()
            continue
        return first, claim
    raise AssertionError("no free ports")


@pytest.fixture
def tiny(tmp_path) -> Iterator[Tiny]:
    stack = Tiny(tmp_path / "state")
    yield stack
    if stack.process is not None:
        stack.process.kill()
        stack.process.wait()
        for left in marked(stack.layout.state):
            psutil.Process(left.pid).kill()
    stack.release()


def test_everything_starts_after_what_it_needs_and_ends_before_it(tiny):
    tiny.start()
    state = tiny.until_ready()
    begun = tiny.diary()
    assert begun.index("begins store") < begun.index("runs fill") < begun.index("begins api-1")
    assert min(begun.index("begins api-1"), begun.index("begins api-2")) < begun.index("begins door")
    assert [part.name for part in state.components] == ["door", "api-1", "api-2", "store", "sink"]
    for part in state.components:
        assert (part.state, part.version, part.source) == ("ready", "0.1.0", "checkout")
        assert os.getpgid(part.pid) == os.getsid(part.pid) == part.pid
    assert {identity.pid for identity in marked(tiny.layout.state)} == {part.pid for part in state.components}

    tiny.end()
    ended = tiny.diary()[len(begun) :]
    assert ended[0] == "ends door"
    assert set(ended[1:3]) == {"ends api-1", "ends api-2"}
    assert ended[3:] == ["ends store", "ends sink"]
    assert marked(tiny.layout.state) == []
    assert tiny.state() is None


def test_one_that_dies_is_started_again(tiny):
    tiny.start()
    before = tiny.until_ready().named("api-1")
    os.kill(before.pid, signal.SIGKILL)
    tiny.until(lambda: tiny.component("api-1").detail.startswith("was ended by SIGKILL; next try in"), "its obituary")
    after = tiny.until(lambda: (part := tiny.component("api-1")).state == "ready" and part, "its return")
    assert after.pid != before.pid
    assert tiny.component("store").pid == tiny.until_ready().named("store").pid


def test_what_is_to_outlive_a_restart_but_not_the_stack_is_forgotten_at_its_start(tiny):
    for name in ("told", "silences"):
        path = tiny.layout.data / "store" / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    tiny.start()
    store = tiny.until_ready().named("store")
    assert [path.name for path in (tiny.layout.data / "store").iterdir()] == ["silences"]
    (tiny.layout.data / "store" / "told").touch()
    os.kill(store.pid, signal.SIGKILL)
    tiny.until(lambda: (part := tiny.component("store")).state == "ready" and part.pid != store.pid, "its return")
    assert (tiny.layout.data / "store" / "told").exists()


def test_one_that_keeps_dying_is_called_failed_with_its_last_words_and_is_tried_on(tiny):
    broken = tiny.flag("api-2.broken")
    tiny.start()
    failed = tiny.until(lambda: (part := tiny.component("api-2")) and part.state == "failed" and part, "the failure")
    assert failed.detail.startswith("exited with 1: api-2 is broken; next try in")
    tiny.until(lambda: tiny.component("door").state == "ready", "the door: one replica is enough for it")
    assert not tiny.state().ready
    broken.unlink()
    tiny.until_ready()


def test_a_failing_step_is_told_by_those_who_wait_for_it(tiny):
    broken = tiny.flag("fill.broken")
    tiny.start()
    waiting = tiny.until(lambda: (part := tiny.component("api-1")) and part.state == "failed" and part, "the failure")
    assert waiting.detail.startswith("waits for fill, which is failed: sh exited with 3: no room")
    assert tiny.component("door").detail.startswith("waits for api-")
    assert tiny.component("store").state == "ready"
    broken.unlink()
    tiny.until_ready()


def test_one_that_runs_but_is_not_well_is_not_called_ready(tiny):
    tiny.start()
    pid = tiny.until_ready().named("store").pid
    sick = tiny.flag("store.sick")
    tiny.until(lambda: tiny.component("store").detail == "/ answers 503", "the reason")
    assert (tiny.component("store").state, tiny.state().ready) == ("failed", False)
    sick.unlink()
    assert tiny.until_ready().named("store").pid == pid


def test_replicas_come_and_go_with_the_wish(tiny):
    tiny.start(replicas=1)
    assert not tiny.until_ready().named("api-2")
    tiny.wish_for(replicas=3)
    state = tiny.until_ready()
    assert [part.name for part in state.components] == ["door", "api-1", "api-2", "api-3", "store", "sink"]
    tiny.wish_for(replicas=1)
    assert not tiny.until_ready().named("api-3")
    tiny.until(lambda: {"ends api-2", "ends api-3"} <= set(tiny.diary()), "the end of the replicas")
    assert "ends api-1" not in tiny.diary()
    assert tiny.diary().count("begins door") == 3, "its environment names the replicas, and it cannot reload"
    assert tiny.diary().count("begins store") == 1


def test_the_door_hears_of_a_new_replica_only_when_it_is_ready(tiny):
    tiny.start(replicas=1)
    tiny.until(lambda: tiny.state() and tiny.state().ready, "a stack that is ready")
    (tiny.layout.state / "api-2.sick").touch()
    tiny.wish_for(replicas=2)
    tiny.until(lambda: "begins api-2" in tiny.diary(), "the new replica")
    time.sleep(0.5)
    assert tiny.diary().count("begins door") == 1, tiny.diary()
    assert not tiny.state().ready
    (tiny.layout.state / "api-2.sick").unlink()
    tiny.until(lambda: tiny.diary().count("begins door") == 2 and tiny.state().ready, "the door, told of both")


def test_changed_configuration_is_reloaded_where_it_can_be_and_a_refusal_is_told(tiny):
    folder = tiny.layout.run / "store"
    folder.mkdir()
    (folder / "store.yaml").write_text("clock: 1")
    tiny.start()
    pid = tiny.until_ready().named("store").pid
    (folder / "store.yaml").write_text("clock: 20")
    tiny.wish_for(replicas=2)
    tiny.until_ready()
    assert tiny.diary().count("reloads store") == 1

    stubborn = tiny.flag("store.stubborn")
    (folder / "store.yaml").write_text("clock: nonsense")
    tiny.wish_for(replicas=2)
    tiny.until(lambda: tiny.component("store").detail == "/reload answers 500", "the refusal")
    assert not tiny.state().ready
    stubborn.unlink()
    tiny.wish_for(replicas=2)
    assert tiny.until_ready().named("store").pid == pid


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends orphans on Linux only")
def test_a_killed_supervisor_leaves_no_orphans(tiny):
    tiny.start()
    state = tiny.until_ready()
    tiny.process.kill()
    tiny.process.wait()
    children = [Identity(part.pid, part.created) for part in state.components]
    tiny.until(lambda: not [child for child in children if child.process()], "the end of every child", 5.0)


def test_it_ends_at_any_moment_with_nothing_left(tiny):
    for pause_s in (0.0, 0.2, 0.5):
        tiny.process = None
        tiny.start()
        tiny.until(tiny.state, "the first state")
        time.sleep(pause_s)
        tiny.end()
        assert tiny.process.returncode == 0
        assert marked(tiny.layout.state) == []
    assert json.loads((tiny.layout.run / "wish.json").read_text())["number"] == 3


def test_what_overlaps_is_restarted_with_somebody_always_there(tiny):
    tiny.start()
    before = tiny.until_ready().named("sink").pid
    tiny.restart("sink")
    after = tiny.until_ready().named("sink").pid
    assert after != before
    assert not psutil.pid_exists(before)
    assert [line for line in tiny.diary() if line.endswith("sink")] == ["begins sink", "begins sink", "ends sink"]


def test_a_successor_that_does_not_start_leaves_its_predecessor_in_place(tiny):
    tiny.start()
    before = tiny.until_ready().named("sink").pid
    broken = tiny.flag("sink.broken")
    tiny.restart("sink")
    tiny.until(lambda: tiny.component("sink").state == "failed", "the successor has failed")
    assert psutil.pid_exists(before)
    broken.unlink()
    tiny.until_ready()
    assert not psutil.pid_exists(before)
