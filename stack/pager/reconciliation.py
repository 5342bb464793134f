"""Pages compared with what Alertmanager knows, both ways.

A resolution that was never delivered (the stack went down while the page fired, Alertmanager lost its memory) would
leave a page open for ever. An alert that Alertmanager believes it has told (its notification log outlives the page
that was closed here) would be told nobody until the repeat interval ends. Owns how long the two may differ before the
page is closed or opened. While alerting itself is not alive neither is done: then an absent alert means nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from stack.pager.backends import BackendError, Backends
from stack.pager.deadman import FINGERPRINT
from stack.pager.page import Notice, NoticeError, Page, emit_time, parse_alert

EVERY_S = 5.0
RECEIVER = "pager"
"""What Alertmanager's configuration calls us; alerts routed to others only are not ours."""

logger = logging.getLogger(__name__)


class Reconciliation:
    """Closes pages whose alert Alertmanager has not known for `grace_s`, and opens those of alerts that it has held for
    so long without a page here."""

    def __init__(
        self,
        backends: Backends,
        alertmanager_url: str,
        open_pages: Callable[[], Awaitable[list[Page]]],
        is_alive: Callable[[], bool],
        close: Callable[[Page, str], Awaitable[None]],
        open_: Callable[[Notice], Awaitable[None]],
        *,
        grace_s: float,
        every_s: float = EVERY_S,
    ) -> None:
        self._backends = backends
        self._url = alertmanager_url
        self._open_pages = open_pages
        self._is_alive = is_alive
        self._close = close
        self._open = open_
        self._grace_s = grace_s
        self._every_s = min(every_s, grace_s / 3)
        self._missed: dict[str, tuple[float, float]] = {}  # page → since when, by both clocks
        self._untold: dict[str, float] = {}  # fingerprint → since when, by the monotonic clock

    async def run(self) -> None:
        while self._url:
            await self._compare()
            await asyncio.sleep(self._every_s)
        await asyncio.Event().wait()

    async def _compare(self) -> None:
        pages = [page for page in await self._open_pages() if page.fingerprint != FINGERPRINT]
        alerts = await self._alerts() if self._is_alive() else None
        if alerts is None:
            self._missed.clear()
            self._untold.clear()
            return
        await self._close_missing([page for page in pages if page.fingerprint not in alerts])
        told = {page.fingerprint for page in pages}
        await self._open_untold({mark: alert for mark, alert in alerts.items() if mark not in told and _is_ours(alert)})

    async def _close_missing(self, missing: list[Page]) -> None:
        now = time.monotonic(), time.time()
        self._missed = {page.id: self._missed.get(page.id, now) for page in missing}
        for page in missing:
            since_monotonic, since = self._missed[page.id]
            # A notice that came meanwhile says that somebody does know it.
            if now[0] - since_monotonic >= self._grace_s and page.updated_at <= since:
                why = f"Closed by the pager: Alertmanager has not known this alert since {emit_time(since)}."
                logger.warning("page %s (%s): %s", page.id, page.alert, why)
                await self._close(page, why)

    async def _open_untold(self, untold: dict[str, dict[str, Any]]) -> None:
        now = time.monotonic()
        self._untold = {mark: self._untold.get(mark, now) for mark in untold}
        for mark, since in list(self._untold.items()):
            if now - since < self._grace_s:
                continue
            del self._untold[mark]
            try:
                notice = parse_alert({**untold[mark], "status": "firing"})
            except NoticeError as error:
                logger.warning("an alert that Alertmanager holds was not understood: %s", error)
                continue
            logger.warning(
                "Alertmanager has held %s for %.0f s without telling it; its page is opened now",
                notice.labels["alertname"],
                now - since,
            )
            await self._open(notice)

    async def _alerts(self) -> dict[str, dict[str, Any]] | None:
        """All alerts that Alertmanager holds by fingerprint, silenced and inhibited ones too; None: no answer."""
        try:
            alerts = await self._backends.read_json(f"{self._url}/api/v2/alerts")
            return {str(alert["fingerprint"]): alert for alert in alerts}
        except BackendError as error:
            logger.warning("open pages cannot be compared with Alertmanager's alerts: %s", error)
        except (KeyError, TypeError) as error:
            logger.warning("Alertmanager's answer was not understood (%r)", error)
        return None


def _is_ours(alert: dict[str, Any]) -> bool:
    """Whether Alertmanager would tell us: it is routed here, and neither silenced nor inhibited nor muted."""
    status, receivers = alert.get("status"), alert.get("receivers")
    if not isinstance(status, dict) or not isinstance(receivers, list):
        return False
    is_routed_here = any(isinstance(one, dict) and one.get("name") == RECEIVER for one in receivers)
    return is_routed_here and status.get("state") == "active" and not status.get("mutedBy")
