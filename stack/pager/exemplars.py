"""Finding the trace behind a page.

Owns: the question to Prometheus (`/api/v1/query_exemplars`), which exemplar is taken, and how long it is looked
for. Refuses to know: how pages are stored, and what made the alert fire.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any

from stack.pager.backends import BackendError, Backends

WINDOW_S = 15 * 60.0
PATIENCE_S = 30.0
ROUND_S = 2.0
MAX_WAITING = 200

TRACE_ID = re.compile(r"[0-9a-f]{32}|[0-9a-f]{16}")

logger = logging.getLogger(__name__)


def parse_newest_trace_id(answer: Any) -> str | None:
    """The trace id of the newest exemplar in a query_exemplars answer; None when there is none. Exemplars
    without a well-formed `trace_id` are passed over."""
    newest, trace_id = float("-inf"), None
    series = answer.get("data") if isinstance(answer, dict) else None
    for one in series if isinstance(series, list) else []:
        for exemplar in one.get("exemplars") or []:
            candidate = str(exemplar.get("labels", {}).get("trace_id", "")).lower()
            moment = float(exemplar.get("timestamp", 0))
            if TRACE_ID.fullmatch(candidate) and moment > newest:
                newest, trace_id = moment, candidate
    return trace_id


class ExemplarSearch:
    """Looks for the traces of many pages at once: one question a distinct query and round, until it is answered
    or `patience_s` has passed."""

    def __init__(
        self,
        backends: Backends,
        prometheus_url: str,
        found: Callable[[str, str], Awaitable[None]],
        *,
        patience_s: float = PATIENCE_S,
        round_s: float = ROUND_S,
    ) -> None:
        """`found(page_id, trace_id)` is awaited once for each page whose trace was found."""
        self._backends = backends
        self._prometheus_url = prometheus_url
        self._found = found
        self._patience_s = patience_s
        self._round_s = round_s
        self._waiting: dict[str, tuple[str, float]] = {}
        self._wake = asyncio.Event()

    def want(self, page_id: str, query: str) -> None:
        """Returns at once. Asking again for a page that is being looked for changes nothing."""
        if self._prometheus_url and query and page_id not in self._waiting and len(self._waiting) < MAX_WAITING:
            self._waiting[page_id] = (query, time.monotonic() + self._patience_s)
            self._wake.set()

    async def run(self) -> None:
        """Searches until cancelled."""
        while True:
            await self._wake.wait()
            while self._waiting:
                await self._search_once()
                if self._waiting:
                    await asyncio.sleep(self._round_s)
            self._wake.clear()

    async def _search_once(self) -> None:
        answers: dict[str, str | None] = {}
        try:
            for query in {query for query, _ in self._waiting.values()}:
                answers[query] = await self._ask(query)
        except BackendError as error:
            logger.warning("exemplars cannot be asked for: %s", error)
        for page_id, (query, deadline) in list(self._waiting.items()):
            trace_id = answers.get(query)
            if trace_id is not None:
                del self._waiting[page_id]
                await self._found(page_id, trace_id)
            elif time.monotonic() >= deadline:
                del self._waiting[page_id]
                logger.warning("no exemplar for page %s within %g s", page_id, self._patience_s)

    async def _ask(self, query: str) -> str | None:
        now = time.time()
        answer = await self._backends.read_json(
            f"{self._prometheus_url}/api/v1/query_exemplars", {"query": query, "start": now - WINDOW_S, "end": now}
        )
        try:
            return parse_newest_trace_id(answer)
        except (AttributeError, TypeError, ValueError) as error:
            raise BackendError(f"Prometheus' answer was not understood ({error!r:.200})") from None
