"""Keeping the evidence of open pages current.

Owns how often and for how many pages it is looked for. A page is shown and told before, and without, any of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

from stack.pager.backends import Backends
from stack.pager.enquiry import enquire
from stack.pager.evidence import Evidence
from stack.pager.page import Page
from stack.pager.settings import Settings

EVERY_S = 5.0
MOST_PAGES = 20  # in a storm of alerts the newest; what they have in common is the same
AT_ONCE = 2


class EvidenceSearch:
    """Asks again for every open page until cancelled; `wake` makes it look at once."""

    def __init__(
        self,
        backends: Backends,
        settings: Settings,
        open_pages: Callable[[], Awaitable[list[tuple[Page, Evidence | None]]]],
        keep: Callable[[str, Evidence], Awaitable[None]],
        *,
        every_s: float = EVERY_S,
    ) -> None:
        """`open_pages` are those that fire, with the evidence so far, the newest first."""
        self._backends = backends
        self._settings = settings
        self._open_pages = open_pages
        self._keep = keep
        self._every_s = every_s
        self._news = asyncio.Event()

    def wake(self) -> None:
        self._news.set()

    async def run(self) -> None:
        while True:
            self._news.clear()
            pages = sorted((await self._open_pages())[:MOST_PAGES], key=lambda known: known[1] is not None)
            turns = asyncio.Semaphore(AT_ONCE)
            await asyncio.gather(*(self._renew(page, evidence, turns) for page, evidence in pages))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), self._every_s)

    async def _renew(self, page: Page, known: Evidence | None, turns: asyncio.Semaphore) -> None:
        async with turns:
            found = await enquire(self._backends, self._settings, page, now=time.time())
        await self._keep(page.id, found.after(known) if known else found)
