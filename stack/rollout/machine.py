"""The replicas of the stack on this machine, in either form, as ground for a rollout: the last one is the canary.

Owns which replica runs which version, which is a setting on top of its own. Knows nothing of judgements.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from stack.components import API, components
from stack.errors import StackError, WrongUse
from stack.form import Form
from stack.layout import Layout
from stack.native.launch import own_version, read_wish
from stack.state import StackState

VERSION = "SIGNALBOX_VERSION"


class Machine:
    """The API's replicas. Raises StackError or WrongUse where a rollout would make no sense."""

    def __init__(
        self, control: Form, layout: Layout, state: StackState, version: str, environment: Mapping[str, str]
    ) -> None:
        self._control = control
        self._layout = layout
        self._wanted = {**environment, VERSION: version}
        self._replicas = tuple(part.name for part in components(state.replicas) if part.job == API)
        self._before = {name: dict(read_wish(layout).overrides.get(name, {})) for name in self._replicas}
        versions = {before.get(VERSION, own_version(layout)) for before in self._before.values()}
        if not state.ready:
            raise StackError("the stack is not ready", "See `signalbox status`")
        if len(self._replicas) < 2:
            raise WrongUse("one replica leaves nothing to compare a canary with", "Run `signalbox up --replicas 2`")
        if len(versions) > 1:
            raise WrongUse(
                f"{' and '.join(sorted(versions))} run already", "Clear the fault that does it, or start anew"
            )
        self.stable, self.canary = versions.pop(), self._replicas[-1]
        if version == self.stable:
            raise WrongUse(f"{version} runs already", "Name another version")

    def start_canary(self) -> str:
        return self._deploy(self.canary)

    def trouble(self) -> str:
        return self._trouble(self.canary)

    def promote(self, tell: Callable[[str], None]) -> str:
        for name in self._replicas[:-1]:
            tell(f"{name} becomes {self._wanted[VERSION]}")
            if trouble := self._deploy(name):
                return f"{name}: {trouble}"
        return ""

    def roll_back(self) -> None:
        for name in self._replicas:
            if read_wish(self._layout).overrides.get(name, {}) != self._before[name]:
                self._override(name, self._before[name])

    def _deploy(self, name: str) -> str:
        return self._override(name, {**self._before[name], **self._wanted})

    def _override(self, name: str, environment: Mapping[str, str]) -> str:
        self._control.override(self._layout, name, dict(environment) or None)
        self._control.follow(self._layout, read_wish(self._layout), lambda state: None)
        return self._trouble(name)

    def _trouble(self, name: str) -> str:
        state = self._control.current_state(self._layout)
        part = state.named(name) if state else None
        if part is None:
            return "the stack was stopped"
        return "" if part.state == "ready" else part.detail or part.state
