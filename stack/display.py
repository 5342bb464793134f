"""What a person sees while the stack comes up: a table that changes on a terminal, one line a change elsewhere.

Reads states, decides nothing. Everything goes to standard error, so that standard output stays free for results.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from stack.state import ComponentPhase, ComponentState, StackState

STYLES: dict[ComponentPhase, str] = {
    "ready": "green",
    "starting": "yellow",
    "building": "cyan",
    "failed": "red",
    "absent": "dim",
}
REPEAT_S = 15.0  # how often a line repeats how far a build has come


class Display(Protocol):
    """Shows states as they come; a context manager."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, state: StackState) -> None:
        """Show this state."""


class LiveTable:
    """A table that is drawn anew with every state, and makes room for the result in the end."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, refresh_per_second=8, transient=True)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def show(self, state: StackState) -> None:
        """Show this state."""
        self._live.update(progress_table(state.components))


class Lines:
    """One line for every change since a state that is known, a link with the one that says ready."""

    def __init__(self, console: Console, known: StackState | None = None) -> None:
        self._console = console
        self._said = {part.name: (part.state, 0.0) for part in known.components} if known else {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def show(self, state: StackState) -> None:
        """Print what changed since the last state."""
        now = time.monotonic()
        for part in state.components:
            phase, since = self._said.get(part.name, ("starting", 0.0))
            if phase == part.state and not (phase == "building" and now - since > REPEAT_S):
                continue
            self._said[part.name] = (part.state, now)
            what = part.url if part.state == "ready" and part.url else part.detail
            self._console.print(Text(f"{part.name:<17} {part.state:<9} {what or ''}".rstrip()), soft_wrap=True)


def build_display(console: Console, known: StackState | None = None) -> Display:
    """The display that suits the console; `known` is what needs no line any more."""
    return LiveTable(console) if console.is_terminal else Lines(console, known)


@contextmanager
def build_countdown(console: Console, what: str, seconds: float) -> Iterator[Callable[[float], None]]:
    """A bar for what takes so long; what it yields is told the seconds gone by. One line where no bar can be."""
    if not console.is_terminal:
        console.print(Text(f"{what}: {seconds:g} s …"), soft_wrap=True)
        yield lambda gone: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:.0f} of {task.total:.0f} s"))
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(what, total=seconds)
        yield lambda gone: progress.update(task, completed=gone)


def component_table(parts: list[ComponentState]) -> Table:
    """Everything about the components, one a row; the link stands there once the part answers."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("component", "state", "version", "source", "pid"):
        table.add_column(heading, no_wrap=True)
    table.add_column("where and what", overflow="fold")
    for part in parts:
        known = (part.version or "", part.source or "", str(part.pid or ""))
        table.add_row(part.name, _phase(part), *known, _where_and_what(part))
    return table


def progress_table(parts: list[ComponentState]) -> Table:
    """How far each component is, on exactly one line."""
    table = Table.grid(padding=(0, 2), expand=True)
    table.add_column(width=max((len(part.name) for part in parts), default=0))
    table.add_column(width=max(len(phase) for phase in STYLES))
    table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    for part in parts:
        table.add_row(part.name, _phase(part), _where_and_what(part))
    return table


def _phase(part: ComponentState) -> Text:
    return Text(part.state, style=STYLES[part.state])


def _where_and_what(part: ComponentState) -> Text:
    said = (part.url if part.state == "ready" else None, part.detail)
    return Text("  ".join(word for word in said if word))
