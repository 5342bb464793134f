"""Faults of whole processes: stopped, killed again and again, or replaced by a bad version.

Owns signals to components and what the supervisor is told. Knows components by name only, from the state document.
"""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from typing import ClassVar

from pydantic import Field

from stack.errors import StackError
from stack.layout import Layout
from stack.native import control
from stack.native.processes import Identity
from stack.sabotage.fault import Parameters, Record, Refused

LOOK_INTERVAL_S = 0.2
PROTECTED = ("faults",)  # nobody would be left to undo it


class ProcessParameters(Parameters):
    """Which component, by the name that `signalbox status` shows."""

    component: str = Field(min_length=1)


def running(layout: Layout, component: str) -> Identity:
    """The process of a component. Raises Refused when it has none."""
    state = control.current_state(layout)
    part = state.named(component) if state else None
    if part is None or component in PROTECTED:
        names = ", ".join(one.name for one in state.components if one.name not in PROTECTED) if state else "none"
        raise Refused(f"there is no component {component!r} to disturb. There are {names}")
    if part.pid is None or part.created is None:
        raise Refused(f"{component} does not run ({part.state}). See `signalbox status`")
    return Identity(part.pid, part.created)


class StopProcess:
    """SIGSTOP: the process is there and does nothing, its connections stay open."""

    name: ClassVar[str] = "stop-process"
    description: ClassVar[str] = "a component's process is stopped (SIGSTOP): it is there and does not answer"
    parameters: ClassVar[type[Parameters]] = ProcessParameters

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    async def plan(self, parameters: ProcessParameters) -> Record:
        identity = running(self._layout, parameters.component)
        return {"pid": identity.pid, "created": identity.created}

    async def apply(self, parameters: ProcessParameters, record: Record) -> None:
        os.kill(record["pid"], signal.SIGSTOP)

    async def undo(self, parameters: ProcessParameters, record: Record) -> None:
        if Identity(record["pid"], record["created"]).process() is not None:
            os.kill(record["pid"], signal.SIGCONT)


class KillProcess:
    """SIGKILL, and again as soon as the supervisor has brought it back: a component that does not come up."""

    name: ClassVar[str] = "kill-process"
    description: ClassVar[str] = "a component is killed hard, and again whenever it comes back"
    parameters: ClassVar[type[Parameters]] = ProcessParameters

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._killer: asyncio.Task[None] | None = None

    async def plan(self, parameters: ProcessParameters) -> Record:
        running(self._layout, parameters.component)
        return {}

    async def apply(self, parameters: ProcessParameters, record: Record) -> None:
        self._killer = asyncio.create_task(self._keep_down(parameters.component))

    async def undo(self, parameters: ProcessParameters, record: Record) -> None:
        """The supervisor is asked not to wait any longer before its next try."""
        killer, self._killer = self._killer, None
        if killer is not None:
            killer.cancel()
            await asyncio.wait({killer})
        control.hurry(self._layout)

    async def _keep_down(self, component: str) -> None:
        while True:
            with suppress(Refused, ProcessLookupError):
                identity = running(self._layout, component)
                if identity.process() is not None:
                    os.kill(identity.pid, signal.SIGKILL)
            await asyncio.sleep(LOOK_INTERVAL_S)


class DeployParameters(ProcessParameters):
    """What is deployed on that component: the version it says it is, and the defect that it brings along."""

    version: str = Field(pattern=r"^[0-9A-Za-z.+-]{1,40}$")
    defect: str = Field(pattern=r"^[a-z-]+$")
    percent: float = Field(default=100, ge=0, le=100)


class Deploy:
    """One replica is rolled to another version, which has a defect from its first request on."""

    name: ClassVar[str] = "deploy"
    description: ClassVar[str] = "a replica is rolled to a `version` with a `defect` (a fault of the service)"
    parameters: ClassVar[type[Parameters]] = DeployParameters

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    async def plan(self, parameters: DeployParameters) -> Record:
        running(self._layout, parameters.component)
        return {}

    async def apply(self, parameters: DeployParameters, record: Record) -> None:
        environment = {
            "SIGNALBOX_VERSION": parameters.version,
            "SIGNALBOX_DEFECT": parameters.defect,
            "SIGNALBOX_DEFECT_PERCENT": f"{parameters.percent:g}",
        }
        await self._override(parameters.component, environment)

    async def undo(self, parameters: DeployParameters, record: Record) -> None:
        await self._override(parameters.component, None)

    async def _override(self, component: str, environment: dict[str, str] | None) -> None:
        try:
            await asyncio.to_thread(control.override, self._layout, component, environment)
        except StackError as error:
            raise Refused(str(error)) from None
