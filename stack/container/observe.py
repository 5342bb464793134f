"""What the engine tells of the containers, as the state document that every command reads. Changes nothing."""

from collections.abc import Iterable, Mapping
from contextlib import suppress

import psutil

from stack import backends
from stack.components import DEFAULT_REPLICAS, Component, components
from stack.container.digests import without
from stack.container.engine import Container
from stack.layout import LOOPBACK, Layout
from stack.native.launch import Wish
from stack.state import ComponentPhase, ComponentState, StackState

DOORS = ("loopback",)  # containers that are no component, and without which nothing can be reached
FAILED_AFTER = 3  # restarts in a row, as in the native form
# What the shell at the head of our containers runs beside the program itself.
BESIDE = frozenset({"docker-init", "sh", "dash", "busybox", "tee", "sleep"})


def observe(layout: Layout, wish: Wish, containers: Iterable[Container]) -> StackState | None:
    """The state of the stack; None when there is no container of it."""
    there = {container.service: container for container in containers}
    if not there:
        return None
    parts = components()
    states = [observe_component(part, there.get(part.name), url_of(part, layout)) for part in parts]
    ready = {state.name for state in states if state.state == "ready"}
    optional = {part.name for part in parts if part.optional and part.name not in there}
    doors = all(name in there and phase_of(there[name])[0] == "ready" for name in DOORS)
    return StackState(
        pid=0,
        created=0.0,
        started_at=min(container.started_at for container in there.values())[:19] + "+00:00",
        clock=wish.clock,
        replicas=DEFAULT_REPLICAS,
        port_offset=layout.port_offset,
        ready=doors and {part.name for part in parts} <= ready | optional,
        wish=wish.number,
        components=states,
        urls={part.name: url_of(part, layout) if part.name in there else None for part in parts if part.url},
    )


def url_of(part: Component, layout: Layout) -> str | None:
    """Where a person on this machine reaches the component."""
    ports = {name: layout.port(base) for name, base in part.ports.items()}
    return part.url and part.url.format(host=LOOPBACK, ports=ports)


def observe_component(part: Component, container: Container | None, url: str | None) -> ComponentState:
    """One component; without a container it waits, or is absent when the stack does without it."""
    if container is None:
        if part.optional and part.backend:
            cost = backends.load_pins()[part.backend].cost
            return ComponentState(part.name, "absent", detail=f"its image cannot be pulled. Without it: {cost}")
        return ComponentState(part.name, "starting", detail="its image is pulled or built", url=url)
    phase, detail = phase_of(container)
    return ComponentState(
        name=part.name,
        state=phase,
        version=without(container.image).rpartition(":")[2].removeprefix("v"),
        source="stand-in" if container.is_stand_in else "image",
        pid=process_of(container.pid),
        url=url,
        detail=detail,
    )


def phase_of(container: Container) -> tuple[ComponentPhase, str]:
    """The engine's words as the stack's, with a reason where it is not ready."""
    by_status: Mapping[str, tuple[ComponentPhase, str]] = {
        "created": ("starting", "waits for what it needs"),
        "exited": ("failed", f"exited with {container.exit_code}"),
        "dead": ("failed", "the engine cannot remove it"),
        "paused": ("failed", "is paused"),
        "restarting": (
            "failed" if container.restarts >= FAILED_AFTER else "starting",
            f"exited with {container.exit_code} and starts again",
        ),
    }
    if container.status in by_status:
        return by_status[container.status]
    by_health: Mapping[str, tuple[ComponentPhase, str]] = {
        "starting": ("starting", container.said),
        "unhealthy": ("failed", f"does not answer as it should: {container.said}"),
    }
    return by_health.get(container.health, ("ready", ""))


def process_of(pid: int) -> int | None:
    """The process that serves, where the engine runs on this machine: the container's first, or what its shell runs."""
    if not pid:
        return None
    with suppress(psutil.Error):
        first = psutil.Process(pid)
        if first.name() in BESIDE:
            return next((child.pid for child in first.children() if child.name() not in BESIDE), pid)
    return pid
