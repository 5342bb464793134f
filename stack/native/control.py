"""What one does to a stack from outside: bring it up, change its wish, take it down, clear away what is left of one.

Talks to the supervisor by signals and reads its state document. Prints nothing.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace

from stack.components import MOST_REPLICAS, Step, components
from stack.errors import StackError, WrongUse
from stack.layout import SIGN, Layout
from stack.native.credentials import Credentials
from stack.native.journal import add_line as add_line
from stack.native.journal import last_lines as last_lines
from stack.native.journal import log_names as log_names
from stack.native.journal import print_log as print_log
from stack.native.launch import Blueprint, Ground, Wish, read_wish, write_wish
from stack.native.locks import Taken, held, is_held
from stack.native.ports import taken_ports
from stack.native.processes import MARK, Identity, end_all, last_words, marked
from stack.state import SETTLED, StackState, read_state

LEAST_FREE_BYTES = 300 * 1024 * 1024  # the data of a first start, with room for its logs
LOCK_WAIT_S = 60.0
BEGIN_TIMEOUT_S = 30.0
END_TIMEOUT_S = 90.0
OVERRIDE_WAIT_S = 5.0
SETTLED_FOR_S = 1.0  # a stack in which nothing moves for this long is not going to be ready
POLL_S = 0.1


def current_state(layout: Layout) -> StackState | None:
    """The state document of the running stack; None when none is running."""
    return read_state(layout.run / "state.json") if is_running(layout) else None


def is_running(layout: Layout) -> bool:
    """Whether a supervisor keeps this stack."""
    return is_held(layout.run / "supervisor.lock")


def bring_up(layout: Layout, clock: float | None = None, replicas: int | None = None, *, starter: str) -> Wish:
    """Start the supervisor, or leave the running one a new wish; None keeps what is. Returns before anything is ready.

    The wish that is returned carries `starter` when this call started the stack.
    """
    if clock is not None and not 1 <= clock <= 1000:
        raise WrongUse(f"--clock is {clock:g}", "Give a factor from 1 to 1000")
    if replicas is not None and not 1 <= replicas <= MOST_REPLICAS:
        raise WrongUse(f"--replicas is {replicas}", f"Give a number from 1 to {MOST_REPLICAS}")
    layout.make()
    with _alone(layout):
        if is_running(layout) and (state := _first_state(layout)) is not None and not state.stopping:
            return _change(layout, state, clock, replicas)
        _await_end(layout, END_TIMEOUT_S)
        clear_away(layout)
        wish = _wish(layout, Wish(number=1, starter=starter), clock, replicas)
        _start(layout, wish)
        return wish


def named(state: StackState, names: Sequence[str]) -> list[str]:
    """The components of these names, and those of services of these names. Raises WrongUse for any other."""
    chosen: list[str] = []
    for name in names:
        found = [part.name for part in components(state.replicas) if name in (part.name, part.job)]
        if not found:
            known = ", ".join(dict.fromkeys(part.job for part in components(state.replicas)))
            raise WrongUse(f"there is no component {name!r}", f"There are {known}")
        chosen += [part for part in found if part not in chosen]
    return chosen


def restart(layout: Layout, names: Sequence[str]) -> Wish:
    """Ask the supervisor to stop components in order and start them again. Returns before they are ready."""
    with _alone(layout):
        if (state := current_state(layout)) is None or state.stopping:
            raise StackError("the stack is not running", "Start it with `signalbox up`")
        before = read_wish(layout)
        restarts = {**before.restarts, **{name: before.restarts.get(name, 0) + 1 for name in names}}
        wish = replace(before, number=max(before.number, state.wish) + 1, restarts=restarts)
        write_wish(layout, wish)
        _signal_supervisor(layout, signal.SIGHUP)
        return wish


def take_back(layout: Layout, starter: str) -> bool:
    """End the stack if the call of that name started it, however far it had come."""
    if read_wish(layout).starter != starter:
        return False
    return take_down(layout)


def follow(layout: Layout, wish: Wish, on_state: Callable[[StackState], None]) -> StackState:
    """Report every state until the stack is ready, or until nothing moves any more. Returns the last state."""
    quiet_since: float | None = None
    while True:
        state = current_state(layout)
        if state is None and not is_running(layout):
            raise StackError("the stack was stopped while it started", "Start it again with `signalbox up`")
        if state is not None and state.wish >= wish.number and not state.stopping:
            on_state(state)
            if state.ready:
                return state
            moving = not state.components or any(part.state not in SETTLED for part in state.components)
            quiet_since = None if moving else quiet_since or time.monotonic()
            if quiet_since is not None and time.monotonic() - quiet_since > SETTLED_FOR_S:
                return state
        time.sleep(POLL_S)


def take_down(layout: Layout, on_state: Callable[[StackState], None] = lambda state: None) -> bool:
    """End the stack and whatever is left of an earlier one. True when there was something to end."""
    if not layout.run.is_dir():
        return False
    with _alone(layout):
        running = is_running(layout)
        if running:
            _signal_supervisor(layout, signal.SIGTERM)
            if not _await_end(layout, END_TIMEOUT_S, on_state):
                _signal_supervisor(layout, signal.SIGKILL)
                _await_end(layout, 5.0)
        left = clear_away(layout)
        if is_running(layout) or marked(layout.state):
            raise StackError("some processes of the stack could not be ended", "Run `signalbox down` as their user")
        return running or bool(left)


def override(layout: Layout, component: str, environment: dict[str, str] | None) -> None:
    """Have a component started anew with these variables on top of its own; None takes them back.

    Does nothing to a stack that is stopping, whose next start forgets them. Raises StackError when another command is
    at work.
    """
    state = current_state(layout)
    if state is None or state.stopping:
        return
    with _alone(layout, OVERRIDE_WAIT_S):
        before = read_wish(layout)
        wish = before.overridden(component, environment)
        if wish == before:
            return
        write_wish(layout, replace(wish, number=max(before.number, state.wish) + 1))
        _signal_supervisor(layout, signal.SIGHUP)


def hurry(layout: Layout) -> None:
    """Have the supervisor try at once what it would try again later."""
    _signal_supervisor(layout, signal.SIGHUP)


def purge(layout: Layout) -> None:
    """Delete the state folder of a stack that is down: data, logs, secrets."""
    shutil.rmtree(layout.elsewhere, ignore_errors=True)
    if (layout.state / SIGN).exists():
        shutil.rmtree(layout.state)


def clear_away(layout: Layout) -> list[int]:
    """End what a supervisor that is gone left running, and forget its state. Returns the pids that were ended."""
    path = layout.run / "state.json"
    state = read_state(path)
    recorded = (
        [Identity(part.pid, part.created) for part in state.components if part.pid and part.created] if state else []
    )
    ended = end_all({*recorded, *marked(layout.state)})
    for remains in (path, layout.run / "supervisor.pid", layout.socket("gateway")):
        remains.unlink(missing_ok=True)
    return ended


def remains(layout: Layout) -> bool:
    """Whether a stack that is gone left a state document or processes behind."""
    return not is_running(layout) and ((layout.run / "state.json").exists() or bool(marked(layout.state)))


def run_step(layout: Layout, step: Step, arguments: Sequence[str]) -> int:
    """Run a command in the environment of the stack, on this terminal; its exit code."""
    wish = read_wish(layout)
    blueprint = Blueprint(layout, wish, components(wish.replicas), Credentials(layout.secrets))
    launch = blueprint.launch(step, Ground(layout.data, {}))
    return subprocess.run([*launch.command, *arguments], env=launch.env, cwd=layout.root, check=False).returncode


@contextmanager
def _alone(layout: Layout, wait_s: float = LOCK_WAIT_S + END_TIMEOUT_S) -> Iterator[None]:
    """One `up` or `down` at a time decides; the others wait and then see what it decided."""
    try:
        with held(layout.run / "command.lock", wait_s=wait_s):
            yield
    except Taken:
        raise StackError("another `signalbox` command is at work and does not end", "End it, then try again") from None


def _change(layout: Layout, state: StackState, clock: float | None, replicas: int | None) -> Wish:
    if state.port_offset != layout.port_offset:
        raise StackError(
            f"the stack runs with port offset {state.port_offset}, not {layout.port_offset}",
            "Unset SIGNALBOX_PORT_OFFSET, or run `signalbox down` first",
        )
    before = read_wish(layout)
    wish = _wish(layout, replace(before, number=max(before.number, state.wish) + 1), clock, replicas)
    _refuse_taken_ports(layout, wish, but=before)
    _render(layout, wish)
    write_wish(layout, wish)
    _signal_supervisor(layout, signal.SIGHUP)
    return wish


def _wish(layout: Layout, before: Wish, clock: float | None, replicas: int | None) -> Wish:
    """The former wish with whatever was asked for now."""
    return replace(
        before,
        clock=clock or before.clock,
        replicas=replicas or before.replicas,
        gateway_host=layout.gateway_host or before.gateway_host,
    )


def _start(layout: Layout, wish: Wish) -> None:
    free = shutil.disk_usage(layout.state).free
    if free < LEAST_FREE_BYTES:
        raise StackError(
            f"the disk is full: {free // 2**20} MB are left at {layout.state}",
            f"Free at least {LEAST_FREE_BYTES // 2**20} MB, or set SIGNALBOX_STATE to a folder on another disk",
        )
    _refuse_taken_ports(layout, wish)
    _render(layout, wish)
    write_wish(layout, wish)
    log = layout.log("supervisor")
    with log.open("ab") as output:
        supervisor = subprocess.Popen(
            [sys.executable, "-m", "stack.native.supervisor"],
            cwd=layout.root,
            env={**os.environ, MARK: str(layout.state)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        _await_begin(layout, supervisor)
    except StackError:
        supervisor.kill()
        supervisor.wait()
        clear_away(layout)
        raise


def _await_begin(layout: Layout, supervisor: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + BEGIN_TIMEOUT_S
    while time.monotonic() < deadline:
        if supervisor.poll() is not None:
            break
        state = read_state(layout.run / "state.json")
        if state is not None and state.pid == supervisor.pid:
            return
        time.sleep(POLL_S / 2)
    log = layout.log("supervisor")
    raise StackError(f"the supervisor did not start: {last_words(log)}", f"See {log}")


def _first_state(layout: Layout) -> StackState | None:
    """The state of a supervisor that may have begun a moment ago; None when it ended instead."""
    deadline = time.monotonic() + BEGIN_TIMEOUT_S
    while is_running(layout) and time.monotonic() < deadline:
        if (state := current_state(layout)) is not None:
            return state
        time.sleep(POLL_S)
    return None


def _refuse_taken_ports(layout: Layout, wish: Wish, but: Wish | None = None) -> None:
    known = {part.name for part in components(but.replicas)} if but else set()
    taken = taken_ports([part for part in components(wish.replicas) if part.name not in known], layout)
    if taken:
        others = f" (and {len(taken) - 1} more)" if len(taken) > 1 else ""
        raise StackError(f"{taken[0]}{others}", "Stop it, or shift all ports with SIGNALBOX_PORT_OFFSET=2500")


def _render(layout: Layout, wish: Wish) -> None:
    # Imported here: it needs the SLO compiler, and `down` must work whatever state that is in.
    from stack.native.render import render

    render(Blueprint(layout, wish, components(wish.replicas), Credentials(layout.secrets)))


def _signal_supervisor(layout: Layout, how: signal.Signals) -> None:
    """Signal the process that is provably our supervisor; when there is none, nobody."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        identity = Identity(**json.loads((layout.run / "supervisor.pid").read_text()))
        if identity.process() is not None:
            os.kill(identity.pid, how)


def _await_end(layout: Layout, timeout_s: float, on_state: Callable[[StackState], None] = lambda state: None) -> bool:
    deadline = time.monotonic() + timeout_s
    while is_running(layout):
        if time.monotonic() > deadline:
            return False
        if (state := read_state(layout.run / "state.json")) is not None:
            on_state(state)
        time.sleep(POLL_S)
    return True
