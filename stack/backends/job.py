"""One resolution under way: what it reports, whether it has been cancelled, and the ways in which a step can end.

Owns the vocabulary that the steps share. Refuses to know any step, and how progress is shown.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

T = TypeVar("T")
Stage = Literal["wait", "connect", "download", "unpack", "modules", "compile", "link", "check"]

# How soon a cancellation is noticed.
_LOOK_EVERY_S = 0.1


@dataclass(frozen=True)
class Progress:
    """What is being done for one backend. `done` of `total` are bytes while downloading and packages while compiling;
    `total` is None where the amount is not known. `elapsed_s` counts from the start of the resolution."""

    name: str
    stage: Stage
    done: int
    total: int | None
    message: str
    elapsed_s: float


class Cancelled(Exception):
    """The caller set its cancel event; nothing half-made is left behind."""


class Unavailable(Exception):
    """One step cannot deliver the backend; the next one may. `remedy` is what would make this step work."""

    def __init__(self, reason: str, remedy: str | None = None) -> None:
        super().__init__(reason)
        self.remedy = remedy


@dataclass(frozen=True)
class Product:
    """What a step made in its folder: executables as paths relative to it, and where they come from."""

    version: str
    executables: Mapping[str, Path]
    origin: Mapping[str, str]


class Job:
    """Carries progress out and cancellation in."""

    def __init__(
        self,
        name: str,
        progress: Callable[[Progress], None] | None = None,
        cancel: threading.Event | None = None,
    ) -> None:
        self.name = name
        self._progress = progress
        self._cancel = cancel or threading.Event()
        self._started = time.monotonic()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the resolution began."""
        return time.monotonic() - self._started

    def report(self, stage: Stage, message: str, done: int = 0, total: int | None = None) -> None:
        """Tell the caller; cheap enough to be called for every chunk."""
        if self._progress is not None:
            self._progress(Progress(self.name, stage, done, total, message, self.elapsed_s))

    def check(self) -> None:
        """Raises Cancelled once the caller has asked for it."""
        if self._cancel.is_set():
            raise Cancelled(self.name)

    def wait_for(self, call: Callable[[], T], limit_s: float | None = None) -> T:
        """The result of a blocking call, made in a thread of its own so that it cannot hold up cancellation.

        Raises what the call raises, Cancelled, and TimeoutError after `limit_s`; the call is then left to itself.
        """
        future: Future[T] = Future()

        def run() -> None:
            try:
                future.set_result(call())
            except BaseException as why:
                future.set_exception(why)

        threading.Thread(target=run, daemon=True).start()
        deadline = None if limit_s is None else time.monotonic() + limit_s
        while not wait([future], timeout=_LOOK_EVERY_S).done:
            self.check()
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"no answer within {limit_s:g} s")
        return future.result()

    def pause(self, seconds: float) -> None:
        """Wait, but no longer than until cancellation, and then raise Cancelled."""
        self._cancel.wait(seconds)
        self.check()
