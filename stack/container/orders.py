"""`python -m stack.container.orders`: does on this host what the component `faults` wants done to containers.

It asks for orders at the port that the component publishes, carries out one after another, and ends with the stack.
Owns the deeds. Knows no fault.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import httpx

from stack.components import FAULTS
from stack.container import control
from stack.container.engine import Engine
from stack.errors import StackError
from stack.layout import LOOPBACK, Layout

ASK_TIMEOUT_S = 40.0  # above the time for which a question is held open
PAUSE_S = 1.0
PATIENCE_S = 3_600.0  # without an answer: images are pulled and built, or somebody ended the containers by other means


def serve(layout: Layout) -> None:
    """Ask, carry out, answer, until the stack is taken down."""
    base = f"http://{LOOPBACK}:{layout.port(FAULTS.ports['faults'])}/internal/orders"
    last = time.monotonic()
    with httpx.Client(timeout=ASK_TIMEOUT_S, trust_env=False) as client:
        while control.is_recorded(layout) and time.monotonic() - last < PATIENCE_S:
            try:
                asked = client.get(base).raise_for_status()
                last = time.monotonic()
                if asked.status_code == httpx.codes.OK:
                    order = asked.json()
                    client.put(f"{base}/{order['number']}", json={"problem": carry_out(layout, order)})
            except httpx.HTTPError:
                time.sleep(PAUSE_S)


def carry_out(layout: Layout, order: Mapping[str, Any]) -> str:
    """Do it, and say why not; empty when it is done."""
    try:
        _do(layout, order["deed"], str(order["component"]), order["environment"])
    except StackError as error:
        sys.stderr.write(f"{order['deed']} {order['component']}: {error}\n")
        return str(error)
    return ""


def _do(layout: Layout, deed: str, component: str, environment: dict[str, str] | None) -> None:
    engine = Engine(layout)
    containers = {one.service: one for one in engine.containers()}
    if component not in containers:
        raise StackError(
            f"there is no component {component!r} to disturb", f"There are {', '.join(sorted(containers))}"
        )
    container = containers[component]
    match deed, container.status:
        case ("find" | "freeze" | "keep-down", status) if status != "running":
            raise StackError(f"{component} does not run ({status})", "See `signalbox status`")
        case "freeze", _:
            engine.act("pause", container.identity)
        case "thaw", "paused":
            engine.act("unpause", container.identity)
        case "keep-down", _:  # the engine leaves down what it was told to kill, whatever the restart policy
            engine.act("kill", container.identity)
        case "let-up", status if status != "running":
            engine.act("start", container.identity)
        case "override", _:
            control.override(layout, component, environment)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        serve(Layout.from_environment())
