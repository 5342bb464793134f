"""Pages compared with what Alertmanager still knows.

A resolution that was never delivered (the stack went down while the page fired, Alertmanager lost its memory) would
leave a page open for ever. Owns how long an alert may be unknown before its page is closed, and what is then said.
While alerting itself is not alive nothing is closed: then an absent alert means nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from stack.pager.backends import BackendError, Backends
from stack.pager.deadman import FINGERPRINT
from stack.pager.page import Page, emit_time

EVERY_S = 5.0

logger = logging.getLogger(__name__)


class Reconciliation:
    """Closes pages whose alert Alertmanager has not known for `grace_s` while alerting was alive."""

    def __init__(
        self,
        backends: Backends,
        alertmanager_url: str,
        open_pages: Callable[[], Awaitable[list[Page]]],
        is_alive: Callable[[], bool],
        close: Callable[[Page, str], Awaitable[None]],
        *,
        grace_s: float,
        every_s: float = EVERY_S,
    ) -> None:
        self._backends = backends
        self._url = alertmanager_url
        self._open_pages = open_pages
        self._is_alive = is_alive
        self._close = close
        self._grace_s = grace_s
        self._every_s = min(every_s, grace_s / 3)
        self._missed: dict[str, tuple[float, float]] = {}  # page → since when, by both clocks

    async def run(self) -> None:
        while self._url:
            await self._compare()
            await asyncio.sleep(self._every_s)
        await asyncio.Event().wait()

    async def _compare(self) -> None:
        pages = [page for page in await self._open_pages() if page.fingerprint != FINGERPRINT]
        known = await self._known() if pages and self._is_alive() else None
        if known is None:
            self._missed.clear()
            return
        missing = [page for page in pages if page.fingerprint not in known]
        now = time.monotonic(), time.time()
        self._missed = {page.id: self._missed.get(page.id, now) for page in missing}
        for page in missing:
            since_monotonic, since = self._missed[page.id]
            # A notice that came meanwhile says that somebody does know it.
            if now[0] - since_monotonic >= self._grace_s and page.updated_at <= since:
                why = f"Closed by the pager: Alertmanager has not known this alert since {emit_time(since)}."
                logger.warning("page %s (%s): %s", page.id, page.alert, why)
                await self._close(page, why)

    async def _known(self) -> set[str] | None:
        """Fingerprints of all alerts that Alertmanager holds, silenced and inhibited ones too; None: no answer."""
        try:
            alerts = await self._backends.read_json(f"{self._url}/api/v2/alerts")
            return {str(alert["fingerprint"]) for alert in alerts}
        except BackendError as error:
            logger.warning("open pages cannot be compared with Alertmanager's alerts: %s", error)
        except (KeyError, TypeError) as error:
            logger.warning("Alertmanager's answer was not understood (%r)", error)
        return None
