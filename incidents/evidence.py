"""The evidence of a run: one plain document that holds everything the report shows and a machine may check.

Owns what is collected, and its form. Refuses to judge and to draw.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import platform
import sys
import time
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from incidents.observe import BackendError, Backends, Series
from incidents.scenario import LogSignal, PromqlSignal, TraceSignal
from incidents.scenario_file import ScenarioFile
from incidents.verdict import Claim, Record, emit_document

FORMAT = 1
TRACE_LOG_MARGIN_S = 60.0
TELLING_LINES = 8


async def observe_evidence(
    record: Record, claims: list[Claim], source: ScenarioFile, backends: Backends, components: list[dict[str, Any]]
) -> dict[str, Any]:
    """Collect what the backends kept of the run. What cannot be had is left out and named under `missing`."""
    missing: list[str] = []
    metrics = await _metrics(record, backends, missing)
    trace = await _trace(record, backends, missing)
    logs = await _logs(trace["trace_id"], record, backends, missing)
    telling = await _telling_lines(record, backends, missing)
    document = {
        "format": FORMAT,
        **emit_document(record, claims, "report.html"),
        "title": record.scenario.title,
        "story": record.scenario.story.strip(),
        "twin": record.twin,
        "seed": record.seed,
        "clock": record.clock,
        "moments": {
            "started_at": record.started_at,
            "onset_at": record.onset_at,
            "paged_at": _paged_at(record),
            "mitigated_at": record.mitigated_at,
            "recovered_at": record.recovered_at,
            "resolved_at": record.resolved_at,
            "ended_at": record.ended_at,
        },
        "cause": None if record.twin else record.scenario.cause.model_dump(),
        "faults": [str(fault) for fault in record.scenario.faults],
        "claims": [asdict(claim) for claim in claims],
        "timeline": [asdict(event) for event in record.timeline],
        "mitigation": None if record.twin else record.scenario.mitigation.story,
        "runbook": record.scenario.runbook,
        "triage": record.triage,
        "page": _page(record),
        "pages": record.pages,
        "load": record.load,
        "metrics": metrics,
        "trace": trace,
        "logs": logs,
        "telling": telling,
        "scenario": {"file": source.path.name, "text": source.text},
        "environment": await _environment(backends, components, missing),
        "missing": missing,
    }
    return {**document, "hashes": {name: _hash(document[name]) for name in _HASHED}}


_HASHED = ("scenario", "timeline", "pages", "load", "metrics", "trace", "logs", "telling")


def _hash(part: Any) -> str:
    """SHA-256 over the canonical JSON of a part (sorted keys, no spaces), so that a later change of it shows."""
    text = json.dumps(part, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _page(record: Record) -> dict[str, Any] | None:
    """The page as it was sent, with what only time could tell: its trace, where it leads, and how it ended."""
    sent, last = record.page_as_sent, record.page
    if sent is None or last is None:
        return last
    later = {key: last.get(key) for key in ("trace_id", "state", "updated_at", "resolved_at")}
    links = {**(sent.get("links") or {}), **{name: url for name, url in (last.get("links") or {}).items() if url}}
    return {**sent, **later, "links": links}


def _paged_at(record: Record) -> float | None:
    if record.onset_at is None or record.fired_after_s is None:
        return None
    return record.onset_at + record.fired_after_s


async def _metrics(record: Record, backends: Backends, missing: list[str]) -> list[dict[str, Any]]:
    """The range of every metric signal, then of every further plot, over the whole run."""
    wanted = [
        (signal.name, signal.query, signal.unit, signal.wanted.value)
        for signal in record.scenario.signals
        if isinstance(signal, PromqlSignal)
    ] + [(plot.name, plot.query, plot.unit, None) for plot in record.scenario.plots]
    if record.onset_at is None or record.ended_at is None:
        return []

    async def read(query: str) -> list[Series] | BackendError:
        try:
            return await backends.query_range(query, record.started_at, record.ended_at or record.started_at)
        except BackendError as error:
            return error

    answers = await asyncio.gather(*(read(query) for _, query, _, _ in wanted))
    found = []
    for (name, query, unit, threshold), answer in zip(wanted, answers, strict=True):
        if isinstance(answer, BackendError):
            missing.append(f"{name}: {answer}")
            continue
        series = [asdict(one) for one in answer]
        query = backends.at_window(query).strip()
        found.append({"name": name, "query": query, "unit": unit, "threshold": threshold, "series": series})
    return found


async def _trace(record: Record, backends: Backends, missing: list[str]) -> dict[str, Any]:
    """The page's exemplar trace; without one, one that a signal found, or whose failure a client of the load saw."""
    if record.trace:
        assert record.page is not None
        return {"trace_id": record.page["trace_id"], "origin": "exemplar of the page", "spans": _spans(record)}
    if found := await _trace_of_a_signal(record, backends, missing):
        return found
    for trace_id in (record.load or {}).get("failing_trace_ids", [])[:5]:
        try:
            if spans := await backends.trace(trace_id):
                record.trace = spans
                return {"trace_id": trace_id, "origin": "a failing request of the load", "spans": _spans(record)}
        except BackendError as error:
            missing.append(f"trace: {error}")
            break
    return {"trace_id": None, "origin": None, "spans": []}


async def _trace_of_a_signal(record: Record, backends: Backends, missing: list[str]) -> dict[str, Any] | None:
    """The fullest of the traces that the first trace signal found."""
    for sighting in record.sightings:
        signal = sighting.signal
        if not isinstance(signal, TraceSignal) or sighting.after_s is None or record.onset_at is None:
            continue
        try:
            found = await backends.find_traces(signal.query, record.onset_at, record.ended_at or time.time())
        except BackendError as error:
            missing.append(f"trace: {error}")
            return None
        if found:
            record.trace = max(found, key=len)
            origin = f"found by the signal “{signal.name}”"
            return {"trace_id": record.trace[0].trace_id, "origin": origin, "spans": _spans(record)}
    return None


def _spans(record: Record) -> list[dict[str, Any]]:
    return [asdict(span) for span in record.trace]


async def _logs(trace_id: str | None, record: Record, backends: Backends, missing: list[str]) -> list[dict[str, Any]]:
    """The log lines of the trace, whoever wrote them."""
    if not trace_id:
        return []
    start = min(span.start_s for span in record.trace) - TRACE_LOG_MARGIN_S
    end = max(span.start_s + span.duration_s for span in record.trace) + TRACE_LOG_MARGIN_S
    try:
        lines = await backends.log_lines(f'{{service_name=~".+"}} | trace_id="{trace_id}"', start, end, limit=200)
    except BackendError as error:
        missing.append(f"logs: {error}")
        return []
    return [asdict(line) for line in lines]


async def _telling_lines(record: Record, backends: Backends, missing: list[str]) -> list[dict[str, Any]]:
    """The first lines that each log signal found: what somebody who greps would have seen."""
    found = []
    for sighting in record.sightings:
        signal = sighting.signal
        if not isinstance(signal, LogSignal) or sighting.after_s is None or record.onset_at is None:
            continue
        try:
            lines = await backends.log_lines(
                signal.query, record.onset_at, record.ended_at or time.time(), TELLING_LINES
            )
        except BackendError as error:
            missing.append(f"lines of {signal.name}: {error}")
            continue
        found.append({"signal": signal.name, "query": signal.query.strip(), "lines": [asdict(line) for line in lines]})
    return found


async def _environment(backends: Backends, components: list[dict[str, Any]], missing: list[str]) -> dict[str, Any]:
    """Where and with what: versions of the parts, of the service and of this tool."""
    builds = []
    try:
        builds = [
            {key: labels.get(key, "") for key in ("instance", "service_name", "service_version", "revision")}
            for labels, _ in await backends.query("signalbox_build_info")
        ]
    except BackendError as error:
        missing.append(f"versions of the service: {error}")
    try:
        own = version("signalbox")
    except PackageNotFoundError:
        own = "not installed"
    return {
        "signalbox": own,
        "python": sys.version.split()[0],
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
        "components": [{key: part.get(key) for key in ("name", "state", "version", "source")} for part in components],
        "service": sorted(builds, key=lambda build: build["instance"]),
    }
