"""The running pager: its parts, and what happens between them.

Owns: that a notice is kept first and explained later, and the background work. Refuses to know: HTTP requests and
web pages.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Annotated, TypeVar

import orjson
from fastapi import Depends, Request

from stack.pager.backends import Backends
from stack.pager.book import Book
from stack.pager.deadman import FINGERPRINT, Deadman
from stack.pager.evidence import Evidence, parse_evidence
from stack.pager.exemplars import ExemplarSearch
from stack.pager.overview import Overview
from stack.pager.page import Notice, Page
from stack.pager.reconciliation import Reconciliation
from stack.pager.search import EvidenceSearch
from stack.pager.settings import Settings

RETRY_S = 1.0
# A new stack may have to build Prometheus and Alertmanager first; that takes a quarter of an hour on two cores.
FIRST_GRACE_S = 1800.0
GRAFANA_EVERY_S = 10.0
# Longer than Alertmanager and Prometheus need after a start to know again what they knew (a resend, one minute).
UNKNOWN_GRACE = 2.0  # times the dead-man's timeout

Answer = TypeVar("Answer")

logger = logging.getLogger(__name__)


class Pager:
    def __init__(self, settings: Settings, book: Book, backends: Backends, enquiries: Backends) -> None:
        """`enquiries` are the same backends by other threads: questions about causes are many and may hang, and what
        watches alerting must not wait for them."""
        self.settings = settings
        self._book = book
        self._book_thread = ThreadPoolExecutor(1, "book")
        self.backends = backends
        self.notices = 0
        self.exemplars = ExemplarSearch(backends, settings.prometheus_url, self._keep_trace)
        self.evidence = EvidenceSearch(enquiries, settings, self._open_with_evidence, self._keep_evidence)
        self.overview = Overview(enquiries, settings)
        self._grafana_answers = False
        self._whole_once = settings.data / "alerting-was-whole-once"
        addresses = {"Prometheus": settings.prometheus_url, "Alertmanager": settings.alertmanager_url}
        self.deadman = Deadman(
            settings.deadman_timeout_s,
            {name: partial(backends.observe_ready, url) for name, url in addresses.items() if url},
            partial(self.ask, lambda book: book.find_open(FINGERPRINT)),
            self._report,
            grace_s=0.0 if self._whole_once.exists() else FIRST_GRACE_S,
        )
        self.reconciliation = Reconciliation(
            backends,
            settings.alertmanager_url,
            partial(self.ask, lambda book: book.list(state="firing")),
            lambda: self.deadman.health().is_alive,
            self._close,
            self._report,
            grace_s=UNKNOWN_GRACE * settings.deadman_timeout_s,
        )

    @property
    def reachable(self) -> Settings:
        """The settings less a Grafana that does not answer: no link of a page leads nowhere."""
        return self.settings if self._grafana_answers else replace(self.settings, grafana_public_url="")

    async def _watch_grafana(self) -> None:
        while self.settings.grafana_url:
            self._grafana_answers = await self.backends.observe_answer(f"{self.settings.grafana_url}/api/health")
            await asyncio.sleep(GRAFANA_EVERY_S)
        await asyncio.Event().wait()

    async def beat(self) -> None:
        """Take a heartbeat of the alerting chain. Raises sqlite3.Error when what follows could not be kept."""
        self._whole_once.touch()
        self.deadman.beat()
        await self.deadman.judge()

    async def ask(self, question: Callable[[Book], Answer]) -> Answer:
        """What the book answers; the disk delays the asker only. Raises sqlite3.Error."""
        return await asyncio.get_running_loop().run_in_executor(self._book_thread, question, self._book)

    async def record(self, notices: list[Notice]) -> list[Page]:
        """Keeps notices and returns the pages that they opened. Their traces are looked for afterwards, in the
        background. Raises sqlite3.Error when nothing could be kept."""
        opened = await self.ask(lambda book: book.record(notices, now=time.time()))
        self.notices += len(notices)
        for page in opened:
            logger.info("page %s opened: %s (%s)", page.id, page.alert, page.tier)
        if opened:
            self.evidence.wake()
        await self._search_traces({notice.fingerprint for notice in notices})
        return opened

    async def run(self) -> None:
        """The background work, until cancelled. A failure of one part is logged, and the part starts again."""
        try:
            work = (
                self._resume,
                self.deadman.run,
                self._watch_grafana,
                self.evidence.run,
                self.reconciliation.run,
            )
            await asyncio.gather(*(_keep_going(part) for part in work))
        finally:
            self.overview.close()
            self._book_thread.shutdown()

    async def _resume(self) -> None:
        await self._search_traces()
        await self.exemplars.run()

    async def _search_traces(self, fingerprints: set[str] | None = None) -> None:
        for page in await self.ask(lambda book: book.list(state="firing")):
            if page.trace_id is None and (fingerprints is None or page.fingerprint in fingerprints):
                self.exemplars.want(page.id, page.annotations.get("exemplar_query", ""))

    async def _keep_trace(self, page_id: str, trace_id: str) -> None:
        await self.ask(lambda book: book.set_trace_id(page_id, trace_id))
        self.evidence.wake()

    async def read_evidence(self, pages: Iterable[Page]) -> dict[str, Evidence]:
        """What is known about the causes of pages, by page id. Raises sqlite3.Error."""
        ids = [page.id for page in pages]
        kept = await self.ask(lambda book: book.evidence(ids))
        known = {}
        for page_id, text in kept.items():
            with contextlib.suppress(KeyError, TypeError):  # of another release: it will be looked for anew
                known[page_id] = parse_evidence(orjson.loads(text))
        return known

    async def _open_with_evidence(self) -> list[tuple[Page, Evidence | None]]:
        pages = await self.ask(lambda book: book.list(state="firing"))
        known = await self.read_evidence(pages)
        return [(page, known.get(page.id)) for page in pages]

    async def _keep_evidence(self, page_id: str, evidence: Evidence) -> None:
        document = orjson.dumps(evidence.to_document())
        await self.ask(lambda book: book.set_evidence(page_id, document))

    async def _close(self, page: Page, why: str) -> None:
        await self.ask(lambda book: book.close_page(page, why, now=time.time()))

    async def _report(self, notice: Notice) -> None:
        await self.record([notice])


def find_pager(request: Request) -> Pager:
    """The pager that the application of a request was built with."""
    pager: Pager = request.app.state.pager
    return pager


OfRequest = Annotated[Pager, Depends(find_pager)]


async def _keep_going(work: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await work()
        except (sqlite3.Error, OSError, ArithmeticError, LookupError, TypeError, ValueError):
            logger.exception("background work failed; again in %g s", RETRY_S)
        await asyncio.sleep(RETRY_S)
