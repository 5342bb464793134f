"""Which form the stack has: processes of this machine (`native`) or containers (`compose`). Does nothing to either.

What is said goes first (`--form`, `SIGNALBOX_FORM`), then what runs, then containers where an engine can have them,
then native.
"""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from stack.components import Step
from stack.container import control as compose
from stack.container import engine
from stack.errors import StackError, WrongUse
from stack.layout import Layout
from stack.native import control as native
from stack.native.launch import Wish
from stack.state import StackState


class Form(Protocol):
    """What both forms can do; each is a module."""

    def current_state(self, layout: Layout) -> StackState | None: ...
    def is_running(self, layout: Layout) -> bool: ...
    def bring_up(
        self, layout: Layout, clock: float | None = None, replicas: int | None = None, *, starter: str
    ) -> Wish: ...
    def named(self, state: StackState, names: Sequence[str]) -> list[str]: ...
    def restart(self, layout: Layout, names: Sequence[str]) -> Wish: ...
    def override(self, layout: Layout, component: str, environment: dict[str, str] | None) -> None: ...
    def follow(self, layout: Layout, wish: Wish, on_state: Callable[[StackState], None]) -> StackState: ...
    def take_back(self, layout: Layout, starter: str) -> bool: ...
    def take_down(self, layout: Layout, on_state: Callable[[StackState], None] = ...) -> bool: ...
    def purge(self, layout: Layout) -> None: ...
    def run_step(self, layout: Layout, step: Step, arguments: Sequence[str]) -> int: ...
    def log_names(self, layout: Layout) -> list[str]: ...
    def print_log(self, layout: Layout, name: str, lines: int, *, follow: bool) -> int: ...
    def last_lines(self, layout: Layout, name: str, count: int) -> list[str]: ...
    def add_line(self, layout: Layout, name: str, line: str) -> None: ...


FORMS: Mapping[str, Form] = {"native": native, "compose": compose}


def said(option: str | None = None, environ: Mapping[str, str] = os.environ) -> str | None:
    """The form that was asked for, if any. Raises WrongUse for a word that names none."""
    word = option or environ.get("SIGNALBOX_FORM") or None
    if word is not None and word not in FORMS:
        source = "--form" if option else "SIGNALBOX_FORM"
        raise WrongUse(f"{source} is {word!r}", f"Write {' or '.join(FORMS)}")
    return word


def find(layout: Layout) -> Form:
    """The form that the stack of this checkout has, or had last; native when there was none."""
    return FORMS[said() or running(layout) or "native"]


def choose(layout: Layout, option: str | None) -> Form:
    """The form in which the stack is brought up. Raises StackError when it runs in another, or no engine answers."""
    wanted, there = said(option), running(layout)
    if there and wanted not in (None, there) and FORMS[there].is_running(layout):
        raise StackError(f"the stack runs in its {there} form", "Take that down first: `signalbox down`")
    if wanted == "compose" and (reason := engine.why_not()):
        raise StackError(
            f"the container form cannot be used: {reason.rstrip('.?')}", "Use the native one: `--form native`"
        )
    return FORMS[wanted or there or _by_itself(layout)]


def _by_itself(layout: Layout) -> str:
    """Containers where an engine answers and has the images or can pull them."""
    if not engine.answers():
        return "native"
    if missing := engine.Engine(layout).cannot_have():
        sys.stderr.write(f"A container engine answers, but {missing} cannot be pulled: starting processes instead.\n")
        return "native"
    return "compose"


def running(layout: Layout) -> str | None:
    """What this checkout runs, as far as can be told without asking an engine."""
    if native.is_running(layout):
        return "native"
    return "compose" if compose.is_recorded(layout) else None
