"""Faults of whole processes: stopped, killed again and again, or replaced by a bad version.

Owns what is done to which component. How hands are laid on it is another's matter.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, field_validator

from stack.sabotage.fault import Parameters, Record
from stack.sabotage.hands import Hands

PROTECTED = ("faults",)  # nobody would be left to undo it


class ProcessParameters(Parameters):
    """Which component, by the name that `signalbox status` shows."""

    component: str = Field(min_length=1)

    @field_validator("component")
    @classmethod
    def _not_protected(cls, component: str) -> str:
        if component in PROTECTED:
            raise ValueError(f"{component} is not disturbed: nobody would be left to undo it")
        return component


class StopProcess:
    """The process is there and does nothing, its connections stay open."""

    name: ClassVar[str] = "stop-process"
    description: ClassVar[str] = "a component's process is stopped (SIGSTOP): it is there and does not answer"
    parameters: ClassVar[type[Parameters]] = ProcessParameters

    def __init__(self, hands: Hands) -> None:
        self._hands = hands

    async def plan(self, parameters: ProcessParameters) -> Record:
        return await self._hands.find(parameters.component)

    async def apply(self, parameters: ProcessParameters, record: Record) -> None:
        await self._hands.freeze(parameters.component, record)

    async def undo(self, parameters: ProcessParameters, record: Record) -> None:
        await self._hands.thaw(parameters.component, record)


class KillProcess:
    """A component that is killed hard and does not come up."""

    name: ClassVar[str] = "kill-process"
    description: ClassVar[str] = "a component is killed hard, and again whenever it comes back"
    parameters: ClassVar[type[Parameters]] = ProcessParameters

    def __init__(self, hands: Hands) -> None:
        self._hands = hands

    async def plan(self, parameters: ProcessParameters) -> Record:
        return await self._hands.find(parameters.component)

    async def apply(self, parameters: ProcessParameters, record: Record) -> None:
        await self._hands.keep_down(parameters.component)

    async def undo(self, parameters: ProcessParameters, record: Record) -> None:
        await self._hands.let_up(parameters.component)


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

    def __init__(self, hands: Hands) -> None:
        self._hands = hands

    async def plan(self, parameters: DeployParameters) -> Record:
        return await self._hands.find(parameters.component)

    async def apply(self, parameters: DeployParameters, record: Record) -> None:
        environment = {
            "SIGNALBOX_VERSION": parameters.version,
            "SIGNALBOX_DEFECT": parameters.defect,
            "SIGNALBOX_DEFECT_PERCENT": f"{parameters.percent:g}",
        }
        await self._hands.override(parameters.component, environment)

    async def undo(self, parameters: DeployParameters, record: Record) -> None:
        await self._hands.override(parameters.component, None)
