"""What a person sees on stderr while an incident runs.

Owns wording on a terminal and in a log file. Refuses to know what the run does; it is told.
"""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.status import Status


class Progress:
    """Lines that stay, and one line that changes where stderr is a terminal. Use as a context; quiet prints nothing."""

    def __init__(self, *, quiet: bool = False, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, quiet=quiet, highlight=False)
        self._status: Status | None = None

    def __enter__(self) -> Progress:
        if self._console.is_terminal and not self._console.quiet:
            self._status = self._console.status("")
            self._status.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._status is not None:
            self._status.stop()

    def phase(self, name: str, what: str) -> None:
        """A new phase begins."""
        self._console.print(f"[bold]{escape(name):<10}[/bold] {escape(what)}", soft_wrap=True)

    def say(self, what: str, *, ok: bool | None = None) -> None:
        """Something happened; `ok` marks it as good or bad."""
        mark = {True: "[green]✓[/green]", False: "[red]✗[/red]", None: "·"}[ok]
        self._console.print(f"           {mark} {escape(what)}", soft_wrap=True)

    def now(self, what: str) -> None:
        """What is being waited for: replaces the line before, and is left out where lines cannot be replaced."""
        if self._status is not None:
            self._status.update(escape(what))
