"""The enquiry into one page: every question asked at once, each answer optional.

Owns which questions there are, their time limits, and which moment counts as before. The questions about an SLO come
with the alert as annotations (`slo/emit/attribution.py`); those about logs, traces and changes are always the same.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from stack.pager.backends import BackendError, Backends
from stack.pager.changes import read_changes
from stack.pager.evidence import Dependency, Evidence, Raised, Share, rank_dependencies
from stack.pager.links import emit_text
from stack.pager.page import Page
from stack.pager.series import Labels, Questions, Sample
from stack.pager.settings import Settings
from stack.pager.waterfall import read_waterfall

LIMIT_S = 10.0  # for one question about a page, its waiting for the others included
MOST_SHARES = 5
MOST_CHANGES = 6
DAY_S = 86_400.0
_BEFORE_S = 3_600.0  # what was usual is judged over the hour before the alert …
_ONSET_S = 120.0  # … less the time in which it came about
_BEFORE_STEP_S = 60.0
_LATEST_CHANGE_S = 1_800.0  # before the alert
_LOGS_LEAD_S = 300.0

Answer = TypeVar("Answer")


async def enquire(backends: Backends, settings: Settings, page: Page, *, now: float) -> Evidence:
    """What the backends know about an open page now. Takes LIMIT_S at most; never raises BackendError."""
    asking = _Enquiry(backends, settings, page, now)
    questions: dict[str, Awaitable[Any]] = {
        "budget": asking.ask("Prometheus", asking.budget),
        "events_lost": asking.ask("Prometheus", asking.lost),
        "routes": asking.ask("Prometheus", lambda: asking.shares("route_query")),
        "versions": asking.ask("Prometheus", lambda: asking.shares("version_query")),
        "instances": asking.ask("Prometheus", lambda: asking.shares("instance_query")),
        "dependencies": asking.ask("Prometheus", asking.dependencies),
        "changes": asking.ask("Prometheus", asking.changes),
        "exceptions": asking.ask("Loki", asking.exceptions),
        "failure": asking.ask("Jaeger", asking.failure),
    }
    answers = dict(zip(questions, await asyncio.gather(*questions.values()), strict=True))
    remaining, lasts, burn = answers.pop("budget") or (None, None, None)
    told = {name: answer for name, answer in answers.items() if answer is not None}
    return Evidence(
        at=now,
        budget_remaining=remaining,
        lasts_s=lasts,
        burn_rate=burn,
        problems=tuple(f"{name}: {why}" for name, why in sorted(asking.problems.items())),
        **told,
    )


class _Enquiry:
    def __init__(self, backends: Backends, settings: Settings, page: Page, now: float) -> None:
        self.problems: dict[str, str] = {}
        self._backends = backends
        self._settings = settings
        self._page = page
        self._now = now
        self._age_s = max(now - page.starts_at, 0.0)
        self._prometheus = Questions(backends, settings.prometheus_url)

    async def ask(self, backend: str, question: Callable[[], Awaitable[Answer]]) -> Answer | None:
        """The answer, or None and a note why there is none: one of each backend is enough."""
        try:
            return await asyncio.wait_for(question(), LIMIT_S)
        except BackendError as error:
            self.problems[backend] = str(error)
        except TimeoutError:
            self.problems[backend] = f"no answer within {LIMIT_S:g} s"
        return None

    async def budget(self) -> tuple[float | None, float | None, float | None] | None:
        """Share of the budget that is left, seconds that it lasts at the pace of now, and that pace."""
        slo = self._page.labels.get("slo")
        if not slo:
            return None
        chosen = f"{{slo={emit_text(slo)}}}"
        remaining = await self._prometheus.value(f"slo:period_error_budget_remaining:ratio{chosen}", self._now)
        burn = await self._prometheus.value(f"slo:current_burn_rate:ratio{chosen}", self._now)
        days = await self._prometheus.value(f"slo:time_period:days{chosen}", self._now)
        lasts = max(remaining, 0.0) * days * DAY_S / burn if remaining is not None and days and burn else None
        return remaining, lasts, burn

    async def lost(self) -> float | None:
        """Bad events since the alert fired, and those of the window that made it fire."""
        query = self._page.annotations.get("lost_query")
        if not query:
            return None
        value = await self._prometheus.value(query.replace("$since", f"{max(round(self._age_s), 60)}s"), self._now)
        return None if value is None else max(value, 0.0)

    async def shares(self, annotation: str) -> tuple[Share, ...]:
        query = self._page.annotations.get(annotation)
        found = await self._prometheus.vector(query, self._now) if query else []
        shares = [Share(_name(sample.labels), sample.value) for sample in found if sample.value >= 0]
        return tuple(sorted(shares, key=lambda share: -share.value)[:MOST_SHARES])

    async def dependencies(self) -> tuple[Dependency, ...]:
        failing, seconds = (self._page.annotations.get(f"{what}_query") for what in ("failing", "seconds"))
        if not failing or not seconds:
            return ()
        fails, takes = await self._present(failing), await self._present(seconds)
        failed, took = await self._usual(failing), await self._usual(seconds)
        return rank_dependencies(
            [
                Dependency(name, fails.get(name, 0.0), failed.get(name), takes.get(name), took.get(name))
                for name in sorted(fails | takes)
            ]
        )

    async def _present(self, query: str) -> dict[str, float]:
        return {_peer(sample.labels): sample.value for sample in await self._prometheus.vector(query, self._now)}

    async def _usual(self, query: str) -> dict[str, float]:
        """The median before the alert: an earlier incident within that hour does not count as usual."""
        start, end = self._page.starts_at - _BEFORE_S, self._page.starts_at - _ONSET_S
        courses = await self._prometheus.courses(query, start, end, _BEFORE_STEP_S)
        return {_peer(course.labels): statistics.median(v for _, v in course.samples) for course in courses}

    async def changes(self) -> tuple[tuple[float, str], ...]:
        found = await read_changes(self._prometheus, self._page.starts_at - _LATEST_CHANGE_S, self._now)
        return tuple((change.at, change.text) for change in found[-MOST_CHANGES:])

    async def exceptions(self) -> tuple[Raised, ...]:
        if not self._page.labels.get("slo") and self._page.tier != "page":
            return ()  # a ticket about a cause: what the services log is seldom about it
        if not self._settings.loki_url:
            raise BackendError("SIGNALBOX_LOKI_URL is not set")
        since = round(min(self._age_s + _LOGS_LEAD_S, DAY_S))
        now, before = await self._raised(since), await self._raised(3600, f" offset {since}s")
        known = {(one.labels.get("service_name"), one.labels.get("exception_type")) for one in before}
        found = [
            Raised(service, kind, sample.value, (service, kind) not in known)
            for sample in now
            for service, kind in [(sample.labels.get("service_name", ""), sample.labels.get("exception_type", ""))]
        ]
        return tuple(sorted(found, key=lambda one: (not one.is_new, -one.count))[:MOST_SHARES])

    async def _raised(self, window_s: int, offset: str = "") -> list[Sample]:
        """How often each service logged each type of exception."""
        lines = f'{{service_name=~".+"}} | exception_type!="" [{window_s}s]{offset}'
        query = f"topk(20, sum by (service_name, exception_type) (count_over_time({lines})))"
        answer = await self._backends.read_json(
            f"{self._settings.loki_url}/loki/api/v1/query", {"query": query, "time": round(self._now * 1e9)}
        )
        try:
            return [
                Sample({str(k): str(v) for k, v in one["metric"].items()}, float(one["value"][1]))
                for one in answer["data"]["result"]
            ]
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise BackendError(f"Loki's answer was not understood ({error!r:.200})") from None

    async def failure(self) -> str | None:
        if not self._page.trace_id:
            return None
        if not self._settings.jaeger_url:
            raise BackendError("SIGNALBOX_JAEGER_URL is not set")
        trace = await read_waterfall(self._backends, self._settings.jaeger_url, self._page.trace_id)
        if trace is None or not trace.failures:
            return None
        deepest = trace.failures[0]
        return f"{deepest.service}, {deepest.operation}: {deepest.failure}"


def _peer(labels: Labels) -> str:
    """Whom the calls go to: `payments` rather than `10.0.4.17`, where the caller says so."""
    return labels.get("peer_service") or _name(labels)


def _name(labels: Labels) -> str:
    """`POST /v1/orders`, `api-1`, `1.4.0 3f2a91c`: the values of the labels, a revision after its version."""
    return " ".join(labels[label] for label in sorted(labels, key=lambda label: label == "revision") if labels[label])
