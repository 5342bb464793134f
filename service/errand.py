"""Fetching something once for all who need it: keys, tokens, secrets.

Owns that one task does it, how often, and what is known of the last time. Knows nothing of what is fetched.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from time import monotonic


class Errand:
    """Something that one task at a time fetches.

    It is nobody's request: a caller in a hurry, who gives up, must not leave the others without it. ``fetch`` says
    whether anything came; ``failed``: the last time nothing did, so whoever has something older need not wait again.
    """

    def __init__(self, fetch: Callable[[], Awaitable[bool]]) -> None:
        self._fetch = fetch
        self._task: asyncio.Task[None] | None = None
        self._began = -math.inf
        self.failed = False

    def start(self, pause_s: float) -> asyncio.Task[None] | None:
        """The task that is under way, or a new one; None when the last one began less than ``pause_s`` ago."""
        if self._task is None and monotonic() - self._began >= pause_s:
            self._began = monotonic()
            self._task = asyncio.create_task(self._run())
        return self._task

    async def _run(self) -> None:
        came = False
        try:
            came = await self._fetch()
        finally:
            self.failed = not came
            self._task = None
