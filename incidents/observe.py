"""Observation: what Prometheus, Loki, Jaeger and the pager say, and waiting for them to say it.

Owns the query protocols of the backends and polling against a deadline. Refuses to know scenarios' claims and what an
observation is worth; it reports a number, or why there is none.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, TypeVar

import httpx

from incidents.endpoints import EndpointError, Endpoints
from incidents.scenario import Check, HttpCheck, LogCheck, PromqlCheck, SpanMatch, TraceCheck, TraceQuery, window_s
from incidents.trace import Span, parse_trace

TIMEOUT_S = 5.0
MAX_LINES = 1_000
MAX_TRACES = 100
MAX_POINTS = 600
"""Points a series keeps in the evidence: more than a plot has pixels for."""

GATEWAY_ERRORS = (502, 503, 504)

T = TypeVar("T")


class BackendError(Exception):
    """A backend gave no usable answer; the text says which one and what it said."""


class Unreached(BackendError):
    """A backend gave no answer at all, or a proxy answered for it."""


@dataclass(frozen=True)
class Series:
    """One series of a range query: (time, value) points, seconds since the epoch, None where the value is no number."""

    labels: dict[str, str]
    points: list[tuple[float, float | None]]


@dataclass(frozen=True)
class LogLine:
    """One log line with its labels; `at` in seconds since the epoch."""

    at: float
    labels: dict[str, str]
    text: str


@dataclass(frozen=True)
class Reading:
    """What a check saw: a number, or None and the reason in `detail`. `blind`: it could not look at all."""

    value: float | None
    detail: str = ""
    blind: bool = False

    def __str__(self) -> str:
        number = "nothing" if self.value is None else f"{self.value:.4g}"
        return f"{number} ({self.detail})" if self.detail else number


class Backends:
    """The query sides of the running system. Use as an async context."""

    def __init__(self, endpoints: Endpoints, clock: float) -> None:
        self.endpoints = endpoints
        self.clock = clock
        self.client = httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False)

    async def __aenter__(self) -> Backends:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.aclose()

    def at_window(self, query: str) -> str:
        """`query` with `$window` filled in for this clock."""
        return query.replace("$window", f"{round(window_s(self.clock))}s")

    async def query(self, query: str, at: float | None = None) -> list[tuple[dict[str, str], float]]:
        """The (labels, value) samples of an instant query, now or at a moment. Raises BackendError."""
        parameters: dict[str, Any] = {"query": self.at_window(query)} | ({} if at is None else {"time": at})
        data = await self._prometheus("query", parameters)
        if data["resultType"] == "scalar":
            return [({}, float(data["result"][1]))]
        return [(dict(entry["metric"]), float(entry["value"][1])) for entry in data["result"]]

    async def query_range(self, query: str, start: float, end: float) -> list[Series]:
        """A range query in steps of whole seconds, at most MAX_POINTS of them. Raises BackendError."""
        step_s = max(1, math.ceil((end - start) / MAX_POINTS))
        data = await self._prometheus(
            "query_range", {"query": self.at_window(query), "start": start, "end": end, "step": step_s}
        )
        return _series(data)

    async def samples(self, selector: str, start: float, end: float) -> list[Series]:
        """The samples of a selector as they are kept: where there are none, there is nothing. Raises BackendError."""
        data = await self._prometheus("query", {"query": f"{selector}[{math.ceil(end - start)}s]", "time": end})
        return _series(data)

    async def query_exemplars(self, query: str, start: float, end: float) -> list[dict[str, Any]]:
        """Exemplars of the series that a selector matches, the newest first. Raises BackendError."""
        data = await self._prometheus("query_exemplars", {"query": query, "start": start, "end": end})
        found = [exemplar for entry in data for exemplar in entry["exemplars"]]
        return sorted(found, key=lambda exemplar: -float(exemplar["timestamp"]))

    async def log_lines(self, query: str, start: float, end: float, limit: int = MAX_LINES) -> list[LogLine]:
        """Log lines of a LogQL query, the oldest first. Raises BackendError."""
        parameters = {
            "query": query,
            "start": str(int(start * 1e9)),
            "end": str(int(end * 1e9)),
            "limit": limit,
            "direction": "forward",
        }
        answer = await self._json("loki", "/loki/api/v1/query_range", parameters)
        if answer["data"]["resultType"] != "streams":
            raise BackendError("loki: the query is a metric, not a selection of lines")
        lines = [
            LogLine(int(at) / 1e9, dict(stream["stream"]), text)
            for stream in answer["data"]["result"]
            for at, text, *_ in stream["values"]
        ]
        return sorted(lines, key=lambda line: line.at)

    async def trace(self, trace_id: str) -> list[Span]:
        """The spans of a trace, empty when Jaeger does not have it (yet). Raises BackendError."""
        answer = await self._json("jaeger", f"/api/traces/{trace_id}", {}, missing={"data": []})
        return parse_trace(answer["data"][0]) if answer["data"] else []

    async def find_traces(self, query: TraceQuery, start: float, end: float) -> list[list[Span]]:
        """Traces that fulfil `query`, what is asked of their spans included. Raises BackendError."""
        further: dict[str, Any] = {}
        if query.operation:
            further["operation"] = query.operation
        if query.min_duration_ms:
            further["minDuration"] = f"{query.min_duration_ms:g}ms"
        traces = await self.search_traces(query.service, start, end, MAX_TRACES, query.tags, further)
        return [spans for spans in traces if query.holding is None or holds_spans(query.holding, spans)]

    async def search_traces(
        self,
        service: str,
        start: float,
        end: float,
        limit: int,
        tags: Mapping[str, str],
        further: Mapping[str, Any] = MappingProxyType({}),
    ) -> list[list[Span]]:
        """At most `limit` traces in which a span of `service` has these tags. Raises BackendError."""
        parameters = {
            "service": service,
            "start": int(start * 1e6),
            "end": int(end * 1e6),
            "limit": limit,
            **further,
            **({"tags": json.dumps(dict(tags))} if tags else {}),
        }
        answer = await self._json("jaeger", "/api/traces", parameters)
        return [parse_trace(document) for document in answer["data"] or []]

    async def services(self) -> list[str]:
        """Every service of which Jaeger has spans. Raises BackendError."""
        answer = await self._json("jaeger", "/api/services", {})
        return [str(name) for name in answer["data"] or []]

    async def pages(self, since: float) -> list[dict[str, Any]]:
        """Pages that reached the pager at `since` or later, the newest first. Raises BackendError."""
        answer = await self._json("pager", "/api/v1/pages", {"since": f"{since:.3f}"})
        pages: list[dict[str, Any]] = answer["pages"]
        return pages

    async def open_pages(self) -> list[dict[str, Any]]:
        """Pages of the paging tier that fire now. Raises BackendError."""
        return [page for page in await self.pages(0.0) if page["state"] == "firing" and page["tier"] == "page"]

    async def measure(self, check: Check, start: float) -> Reading:
        """The number that `check` asks for; logs and traces are searched from `start` until now. Never raises."""
        try:
            match check:
                case PromqlCheck():
                    samples = await self.query(check.query)
                    value = check.wanted.nearest([value for _, value in samples])
                    return Reading(value, "" if samples else "the query selects no series")
                case HttpCheck():
                    answer = await self.client.get(check.url.format(**self.endpoints.urls))
                    return Reading(float(answer.status_code), "" if answer.is_success else answer.text[:120])
                case LogCheck():
                    return Reading(float(len(await self.log_lines(check.query, start, time.time() + 1))))
                case TraceCheck():
                    return Reading(float(len(await self.find_traces(check.query, start, time.time() + 1))))
        except KeyError as unknown:
            return Reading(None, f"no address of {unknown}", blind=True)
        except (BackendError, EndpointError) as error:
            return Reading(None, str(error), blind=True)
        except httpx.HTTPError as error:
            return Reading(None, f"no answer: {type(error).__name__}", blind=True)

    async def _prometheus(self, verb: str, parameters: dict[str, Any]) -> Any:
        answer = await self._json("prometheus", f"/api/v1/{verb}", parameters)
        return answer["data"]

    async def _json(self, name: str, path: str, parameters: dict[str, Any], missing: Any = None) -> Any:
        """The JSON document at `path` of a backend; `missing` is returned for a 404 where it is not None."""
        try:
            answer = await self.client.get(self.endpoints.url(name) + path, params=parameters)
            if answer.status_code == httpx.codes.NOT_FOUND and missing is not None:
                return missing
            if answer.status_code in GATEWAY_ERRORS:
                raise Unreached(f"{name} answered {answer.status_code}: {answer.text.strip()[:200]}")
            if not answer.is_success:
                raise BackendError(f"{name} answered {answer.status_code}: {answer.text.strip()[:200]}")
            return answer.json()
        except httpx.HTTPError as error:
            raise Unreached(f"{name} does not answer ({type(error).__name__})") from None
        except ValueError:
            raise BackendError(f"{name} answered something that is not JSON") from None


def _series(data: dict[str, Any]) -> list[Series]:
    return [
        Series(dict(entry["metric"]), [(float(at), _finite(float(value))) for at, value in entry["values"]])
        for entry in data["result"]
    ]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def holds_spans(wanted: SpanMatch, spans: list[Span]) -> bool:
    """Whether a trace holds enough spans that fulfil everything in `wanted`."""
    return sum(_fulfils(wanted, span) for span in spans) >= wanted.at_least


def _fulfils(wanted: SpanMatch, span: Span) -> bool:
    return (
        wanted.service in (None, span.service)
        and wanted.operation in (None, span.operation)
        and wanted.kind in (None, span.kind)
        and wanted.error in (None, span.failed)
        and (wanted.min_duration_ms is None or span.duration_s * 1e3 >= wanted.min_duration_ms)
        and all(span.tags.get(key) == value for key, value in wanted.tags.items())
    )


def parse_time(text: str) -> float:
    """An RFC 3339 time → seconds since the epoch. Raises ValueError."""
    return datetime.fromisoformat(text).timestamp()


async def poll(
    read: Callable[[], Awaitable[T]], enough: Callable[[T], bool], *, deadline_s: float, every_s: float = 0.5
) -> tuple[bool, T]:
    """Read again and again until `enough` or the deadline; return whether it came, and the last reading."""
    loop = asyncio.get_running_loop()
    ends = loop.time() + deadline_s
    while True:
        reading = await read()
        if enough(reading):
            return True, reading
        if (left := ends - loop.time()) <= 0:
            return False, reading
        await asyncio.sleep(min(every_s, left))
