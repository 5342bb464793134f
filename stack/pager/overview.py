"""The budgets and the changes of a span of time, kept for many readers.

Owns which spans may be asked for. Refuses to know how budgets and changes are found out.
"""

from __future__ import annotations

import time
from functools import partial

from stack.pager.backends import Backends
from stack.pager.budgets import Budget, read_budgets
from stack.pager.changes import Change
from stack.pager.lately import Lately, Told
from stack.pager.series import Questions
from stack.pager.settings import Settings
from stack.pager.timeline import read_timeline

SPANS = {"1h": 3_600.0, "6h": 21_600.0, "1d": 86_400.0, "7d": 604_800.0, "30d": 2_592_000.0}
USUAL_SPAN = "6h"

Changes = tuple[list[Change], list[str]]


class Overview:
    """Answers by the name of a span in SPANS."""

    def __init__(self, backends: Backends, settings: Settings) -> None:
        self._backends = backends
        self._settings = settings
        self._questions = Questions(backends, settings.prometheus_url)
        self._budgets = {span: Lately(partial(self._ask_budgets, span)) for span in SPANS}
        self._changes = {span: Lately(partial(self._ask_changes, span)) for span in SPANS}

    def close(self) -> None:
        for lately in (*self._budgets.values(), *self._changes.values()):
            lately.close()

    async def budgets(self, span: str) -> Told[list[Budget]]:
        return await self._budgets[span].read()

    async def changes(self, span: str) -> Told[Changes]:
        return await self._changes[span].read()

    async def _ask_budgets(self, span: str) -> list[Budget]:
        now = time.time()
        return await read_budgets(self._questions, now - SPANS[span], now)

    async def _ask_changes(self, span: str) -> Changes:
        now = time.time()
        return await read_timeline(
            self._backends, self._questions, self._settings.alertmanager_url, now - SPANS[span], now
        )
