"""What the acceptance tests ask the backends, over their public HTTP APIs. Every question has a deadline."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx

T = TypeVar("T")


def eventually(ask: Callable[[], T | None], what: str, *, within_s: float | None = None, every_s: float = 0.2) -> T:
    """Ask until the answer is truthy; fail with the last answer when it never is. By default 15 s are given, where
    something deployed is asked (`deployed`) as long as it takes there."""
    if within_s is None:
        within_s = float(os.environ.get("SMOKE_PATIENCE_S") or (90 if "SMOKE_GATEWAY_URL" in os.environ else 15))
    deadline = time.monotonic() + within_s
    seen: object = None
    while time.monotonic() < deadline:
        try:
            seen = ask()
        except (httpx.HTTPError, KeyError, AssertionError) as problem:
            seen = problem
        else:
            if seen:
                return seen  # type: ignore[return-value]
        time.sleep(every_s)
    raise AssertionError(f"{what}: not within {within_s:g} s; last seen: {seen!r}"[:2000])


@dataclass(frozen=True)
class Backends:
    """The running stack's backends by URL."""

    urls: dict[str, str]
    http: httpx.Client

    def query(self, promql: str) -> list[dict[str, Any]]:
        """Instant query; the result vector."""
        answer = self.http.get(f"{self.urls['prometheus']}/api/v1/query", params={"query": promql}).json()
        assert answer["status"] == "success", answer
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result

    def value(self, promql: str) -> float | None:
        """The single value of an instant query, None when there is none."""
        result = self.query(promql)
        return float(result[0]["value"][1]) if result else None

    def exemplars(self, promql: str, since_s: float = 120) -> list[dict[str, Any]]:
        """Exemplars of the selected series, newest first."""
        now = time.time()
        answer = self.http.get(
            f"{self.urls['prometheus']}/api/v1/query_exemplars",
            params={"query": promql, "start": str(now - since_s), "end": str(now + 1)},
        ).json()
        found = [exemplar for series in answer["data"] for exemplar in series["exemplars"]]
        return sorted(found, key=lambda exemplar: -exemplar["timestamp"])

    def trace(self, trace_id: str) -> dict[str, Any] | None:
        """A trace as Jaeger's query API tells it, None while it is unknown."""
        answer = self.http.get(f"{self.urls['jaeger']}/api/traces/{trace_id}")
        if answer.status_code != 200:
            return None
        data = answer.json()["data"]
        return data[0] if data else None

    def services_of(self, trace: dict[str, Any]) -> set[str]:
        """Names of the services that have spans in the trace."""
        return {process["serviceName"] for process in trace["processes"].values()}

    def spans(self, trace: dict[str, Any], service: str) -> list[dict[str, Any]]:
        """Spans of one service, attributes as a mapping under ``attributes``."""
        return [
            {**span, "attributes": {tag["key"]: tag["value"] for tag in span["tags"]}}
            for span in trace["spans"]
            if trace["processes"][span["processID"]]["serviceName"] == service
        ]

    def of_lines(self, logql: str) -> list[dict[str, Any]]:
        """Figures that Loki makes of log lines, now: one sample per series."""
        answer = self.http.get(f"{self.urls['loki']}/loki/api/v1/query", params={"query": logql})
        assert answer.status_code == 200, answer.text
        samples: list[dict[str, Any]] = answer.json()["data"]["result"]
        return samples

    def logs(self, logql: str, since_s: float = 300) -> list[dict[str, str]]:
        """Log lines: stream labels and structured metadata, with the text under ``line``."""
        now = time.time_ns()
        answer = self.http.get(
            f"{self.urls['loki']}/loki/api/v1/query_range",
            params={"query": logql, "start": str(now - int(since_s * 1e9)), "end": str(now), "limit": "500"},
        )
        assert answer.status_code == 200, answer.text
        return [
            {**stream["stream"], "line": line}
            for stream in answer.json()["data"]["result"]
            for _, line, *_ in stream["values"]
        ]
