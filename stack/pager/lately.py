"""The latest answer to a question that many readers ask.

Owns how old an answer may be and how long a reader waits. Refuses to know the question.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from stack.pager.backends import BackendError

FRESH_S = 5.0
PATIENCE_S = 1.5  # a reader of open pages does not wait for plots

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Told(Generic[Answer]):
    """The answer as last heard, at seconds since the epoch, and why there is no newer one."""

    answer: Answer | None = None
    at: float = 0.0
    problem: str | None = None


class Lately(Generic[Answer]):
    """Asks again when the answer is old, once at a time, whoever reads."""

    def __init__(
        self,
        ask: Callable[[], Awaitable[Answer]],
        *,
        fresh_s: float = FRESH_S,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._ask = ask
        self._fresh_s = fresh_s
        self._patience_s = patience_s
        self._told: Told[Answer] = Told()
        self._asked = float("-inf")
        self._task: asyncio.Task[None] | None = None

    async def read(self) -> Told[Answer]:
        """Waits for at most the patience, then tells what is known."""
        if self._task is None and time.monotonic() - self._asked > self._fresh_s:
            self._task = asyncio.create_task(self._renew())
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=self._patience_s)
        if self._task is not None and self._told.problem is None and self._told.answer is None:
            return Told(problem=f"no answer within {self._patience_s:g} s; asked again by itself")
        return self._told

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _renew(self) -> None:
        try:
            self._told = Told(await self._ask(), time.time())
        except BackendError as error:
            self._told = Told(self._told.answer, self._told.at, str(error))
        finally:
            self._asked = time.monotonic()
            self._task = None
