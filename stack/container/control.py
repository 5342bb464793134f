"""What one does to the containers of the stack: the functions of `stack.native.control`, carried out by an engine.

The state is asked of the engine whenever it is wanted and left as a document too, for those who read that. Prints
nothing but what `docker` itself says when it pulls an image.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import httpx

from stack import backends
from stack.components import DEFAULT_REPLICAS, Step, components
from stack.container import hands
from stack.container.engine import Engine
from stack.container.observe import DOORS, observe
from stack.errors import StackError, WrongUse
from stack.layout import Layout
from stack.native import control as native
from stack.native.launch import Wish, read_wish, write_wish
from stack.native.processes import last_words
from stack.state import ComponentState, StackState, write_state

POLL_S = 0.5
SETTLING_S = 20.0  # after `docker compose` has ended well: the name server still has to tell the doors
STEP_SERVICE = "migrate"  # has the environment of the stack, and ends
SCRIBE = "pager"  # has the folder of logs, and a shell
SIGN = "form"  # the file that says that this checkout's stack runs as containers
FORM = "compose"

_starting: "dict[Path, subprocess.Popen[bytes]]" = {}  # by state folder: what `bring_up` began and `follow` watches

named = native.named  # both forms have the same components


def is_recorded(layout: Layout) -> bool:
    """Whether the stack of this checkout was brought up in this form and not taken down. Asks no engine."""
    with suppress(OSError):
        return (layout.run / SIGN).read_text().strip() == FORM
    return False


def is_running(layout: Layout) -> bool:
    """Whether there are containers of this stack."""
    return bool(Engine(layout).containers())


def current_state(layout: Layout) -> StackState | None:
    """How the stack is now; None when there is no container of it."""
    state = observe(layout, read_wish(layout), Engine(layout).containers())
    if layout.run.is_dir():
        document = layout.run / "state.json"
        if state is None:
            document.unlink(missing_ok=True)
        else:
            write_state(document, state)
    return state


def bring_up(layout: Layout, clock: float | None = None, replicas: int | None = None, *, starter: str) -> Wish:
    """Begin to start the containers, or to change the clock of those that run. Returns before anything is ready.

    The wish that is returned carries `starter` when this call started the stack.
    """
    if clock is not None and not 1 <= clock <= 1000:
        raise WrongUse(f"--clock is {clock:g}", "Give a factor from 1 to 1000")
    if replicas not in (None, DEFAULT_REPLICAS):
        raise WrongUse(
            f"--replicas is {replicas}, and docker-compose.yml has {DEFAULT_REPLICAS}",
            "Use the native form: `signalbox up --form native`",
        )
    layout.make()
    engine = Engine(layout)
    running = current_state(layout)
    before = read_wish(layout) if running else Wish(starter=starter)
    host = layout.gateway_host or before.gateway_host
    wish = replace(before, number=before.number + 1, clock=clock or before.clock, gateway_host=host)
    (layout.run / SIGN).write_text(f"{FORM}\n")
    write_wish(layout, wish)
    hands.start(layout)
    if not (running and running.ready and wish == replace(before, number=wish.number)):
        _begin(layout, wish, "up", "--build", "--detach", "--wait", *_services(engine))
    return wish


def follow(layout: Layout, wish: Wish, on_state: Callable[[StackState], None]) -> StackState:
    """Report every state until the stack is ready, or will not become so. Returns the last state. Raises StackError."""
    process, log = _starting.get(layout.state), layout.log(FORM)
    while process is not None and process.poll() is None:
        if (state := current_state(layout)) is not None and not state.ready:
            on_state(state)
        time.sleep(POLL_S)
    deadline = time.monotonic() + SETTLING_S
    while (state := current_state(layout)) is not None:
        on_state(state)
        failed = process is not None and process.returncode != 0
        if (state.ready and not failed and _take_clock(state)) or failed or time.monotonic() > deadline:
            if failed and all(part.state != "failed" for part in state.components):
                raise StackError(f"the containers did not come up: {last_words(log)}", f"See {log}")
            return replace(state, ready=state.ready and not failed)
        time.sleep(POLL_S)
    if process is not None and process.returncode:
        raise StackError(f"the containers did not come up: {last_words(log)}", f"See {log}")
    raise StackError("the stack was stopped while it started", "Start it again with `signalbox up`")


def restart(layout: Layout, names: Sequence[str]) -> Wish:
    """Begin to stop containers and start them anew, from an image with the code as it is now.

    One that nobody balances hands over meanwhile. Raises StackError when its successor does not come up.
    """
    if current_state(layout) is None:
        raise StackError("the stack is not running", "Start it with `signalbox up`")
    wish = read_wish(layout)
    overlapping = {part.name for part in components() if part.overlaps}
    for name in overlapping.intersection(names):
        _hand_over(layout, wish, name)
    if others := [name for name in names if name not in overlapping]:
        _begin(layout, wish, "up", "--build", "--detach", "--wait", "--no-deps", "--force-recreate", *others)
    return wish


def override(layout: Layout, component: str, environment: dict[str, str] | None) -> None:
    """Begin to replace a component's container by one with these variables on top of its own; None takes them back."""
    if current_state(layout) is None:
        return
    before = read_wish(layout)
    wish = before.overridden(component, environment)
    if wish != before:
        wish = replace(wish, number=before.number + 1)
        write_wish(layout, wish)
        _begin(layout, wish, "up", "--detach", "--wait", "--no-deps", component)


def take_back(layout: Layout, starter: str) -> bool:
    """End the stack if the call of that name started it, however far it had come."""
    if read_wish(layout).starter != starter:
        return False
    return take_down(layout)


def take_down(layout: Layout, on_state: Callable[[StackState], None] = lambda state: None) -> bool:
    """Remove the containers and their networks; the volumes stay. True when there was something to end."""
    return _remove(layout, on_state)


def purge(layout: Layout) -> None:
    """Delete the volumes and the state folder of a stack that is down: data, logs, passwords."""
    layout.make()
    _remove(layout, lambda state: None, "--volumes")
    native.purge(layout)


def run_step(layout: Layout, step: Step, arguments: Sequence[str]) -> int:
    """Run a command in the environment of the stack, on this terminal; its exit code."""
    script = 'set -a; . /run/secrets/service.env; set +a; exec "$@"'
    command = [word.format(python="python") for word in step.command]
    options = ["--rm", "--no-deps", "--quiet-pull", "--entrypoint", "sh", STEP_SERVICE, "-ceu", script, "run"]
    return Engine(layout).attach(read_wish(layout), "run", *options, *command, *arguments)


def log_names(layout: Layout) -> list[str]:
    """Of whom there is a log."""
    return sorted({container.service for container in Engine(layout).containers()})


def print_log(layout: Layout, name: str, lines: int, *, follow: bool) -> int:
    """Print the last lines of a container's log, and go on with what is added."""
    identity = _identity(layout, name)
    following = ["--follow"] if follow else []
    command = ["docker", "logs", "--tail", str(lines), *following, identity]
    return subprocess.run(command, stderr=subprocess.STDOUT, check=False).returncode


def add_line(layout: Layout, name: str, line: str) -> None:
    """Add a line to the log of that name in the folder that the collector follows."""
    inside = ["sh", "-c", 'cat >> "/var/log/signalbox/$0.log"', name]
    command = ["docker", "exec", "--interactive", _identity(layout, SCRIBE), *inside]
    subprocess.run(command, input=line, text=True, stderr=subprocess.DEVNULL, check=False)


def last_lines(layout: Layout, name: str, count: int) -> list[str]:
    """What a container said last."""
    command = ["docker", "logs", "--tail", str(count), _identity(layout, name)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.stdout.splitlines()


def _identity(layout: Layout, service: str) -> str:
    """The newest container of a service; empty when there is none."""
    return {one.service: one.identity for one in Engine(layout).containers()}.get(service, "")


def _services(engine: Engine) -> list[str]:
    """What is started: every component but an optional one whose image cannot be had, and the doors."""
    chosen = list(DOORS)
    pins = backends.load_pins()
    for part in components():
        if part.optional and part.backend:
            image = pins[part.backend].image
            if not (engine.has_image(image) or engine.pull(image)):
                continue
        chosen.append(part.name)
    return chosen


def _hand_over(layout: Layout, wish: Wish, name: str) -> None:
    """Have a second container answer to the component's name, then end the first. Returns when that is done."""
    engine, log = Engine(layout), layout.log(FORM)
    before = engine.identities(name)
    _begin(layout, wish, "up", "--build", "--detach", "--wait", "--no-deps", "--no-recreate", f"--scale={name}=2", name)
    if _starting[layout.state].wait():
        for successor in set(engine.identities(name)) - set(before):
            engine.end(successor)
        raise StackError(f"the successor of {name} did not come up: {last_words(log)}", f"See {log}")
    for identity in before:
        engine.end(identity)


def _begin(layout: Layout, wish: Wish, *arguments: str) -> None:
    with layout.log(FORM).open("wb") as output:
        _starting[layout.state] = Engine(layout).begin(wish, *arguments, output=output)


def _remove(layout: Layout, on_state: Callable[[StackState], None], *options: str) -> bool:
    """`docker compose down`, after the end of a `docker compose up` of ours that is still at work."""
    if (process := _starting.pop(layout.state, None)) is not None and process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()
    was_up = is_running(layout)
    wish, log = read_wish(layout), layout.log(FORM)
    if was_up or options:
        layout.make()
        with log.open("wb") as output:
            ending = Engine(layout).begin(wish, "down", "--remove-orphans", *options, output=output)
        while ending.poll() is None:
            if (state := current_state(layout)) is not None:
                on_state(replace(state, components=[_ended(part) for part in state.components]))
            time.sleep(POLL_S)
        if ending.returncode:
            raise StackError(f"some containers could not be ended: {last_words(log)}", f"See {log}")
    for remains in (SIGN, "state.json"):
        (layout.run / remains).unlink(missing_ok=True)
    hands.end(layout)
    return was_up


def _ended(part: ComponentState) -> ComponentState:
    """An end that was asked for is no failure."""
    return replace(part, state="absent", detail="has ended") if part.state == "failed" else part


def _take_clock(state: StackState) -> bool:
    """Have everything that can read its settings anew do so, and see that it answers: the doors may be late."""
    try:
        for part in components():
            if part.reload and part.reload.path and (url := state.urls.get(part.name)):
                httpx.post(f"{url}{part.reload.path}", timeout=10, trust_env=False).raise_for_status()
    except httpx.HTTPError:
        return False
    return True
