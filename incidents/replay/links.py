"""Where to look at what was replayed: addresses with its time range.

Owns the forms of those addresses. Refuses to know whether somebody listens there.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote, urlencode

from incidents.bundle.form import Trace
from incidents.capture.otlp import REPLAY
from incidents.replay.placement import Placement
from incidents.replay.traces import move

DASHBOARDS = ("signalbox-incident", "signalbox-service")
LEAD_MS = 60_000


def build_links(urls: Mapping[str, str], place: Placement, trace_id: str | None) -> dict[str, str]:
    """Links by what they show. Only for parts that have an address."""
    start, end = place.start_ms, place.end_ms
    links: dict[str, str] = {}
    if grafana := urls.get("grafana"):
        for uid in DASHBOARDS:
            links[f"dashboard {uid}"] = f"{grafana}/d/{uid}?from={start - LEAD_MS}&to={end + LEAD_MS}"
    if (pager := urls.get("pager")) and trace_id:
        links["trace"] = f"{pager}/traces/{trace_id}"
        links["logs of the trace"] = f"{pager}/logs/{trace_id}?at={start // 1000}"
    if prometheus := urls.get("prometheus"):
        expression = (
            f'sum by (http_route) (rate(http_server_request_duration_seconds_count{{{REPLAY}="{place.label}"}}[1m]))'
        )
        asked = {"query": expression, "start": start / 1000, "end": end / 1000, "step": 5}
        links["metrics"] = f"{prometheus}/api/v1/query_range?{urlencode(asked, quote_via=quote)}"
    if loki := urls.get("loki"):
        asked = {"query": f'{{{REPLAY}="{place.label}"}}', "start": f"{start}000000", "end": f"{end}999999"}
        links["lines"] = f"{loki}/loki/api/v1/query_range?{urlencode(asked, quote_via=quote)}"
    if jaeger := urls.get("jaeger"):
        asked = {"service": "api", "start": start * 1000, "end": end * 1000, "limit": 20}
        links["traces"] = f"{jaeger}/api/traces?{urlencode(asked)}"
    return links


class Telling:
    """The trace that is worth a look: the one with most failed spans, of those the longest."""

    def __init__(self) -> None:
        self._best: tuple[int, int] = (-1, -1)
        self._trace: Trace | None = None

    def add(self, trace: Trace) -> None:
        """Consider one more."""
        spans = trace.spans()
        took = max(int(span.endTimeUnixNano) - int(span.startTimeUnixNano) for span in spans)
        rank = (sum(span.status.code == 2 for span in spans), took)
        if rank > self._best:
            self._best, self._trace = rank, trace

    def trace_id(self, place: Placement) -> str | None:
        """Its id there; None when there was no trace."""
        return move(self._trace, place).trace_id if self._trace else None
