"""The round trip: a slice of the running stack, captured while a fault is on, and replayed beside it, some days back.

Bounds: samples, lines and traces are the same in number; counts, sums and quantiles are equal; every line has its text,
its time and its metadata; every trace its tree. What differs is the mark, the days, and the ids of traces.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from incidents.bundle.form import Series, Trace
from incidents.bundle.read import Bundle
from incidents.capture.metrics import Metrics
from incidents.capture.moments import Slice
from incidents.capture.otlp import convert_trace
from incidents.capture.source import Source
from incidents.replay.placement import Placement
from tests.acceptance.backends import Backends, eventually
from tests.acceptance.conftest import sign_in
from tests.conftest import Stack

pytestmark = pytest.mark.timeout(900)
SLICE_S = 30
SETTLE_S = 8
WAIT_S = 600
BUCKETS = "sum by (le, http_route) (rate(http_server_request_duration_seconds_bucket{$mark}[$range]))"


@dataclass(frozen=True)
class RoundTrip:
    """The bundle, what both commands said, and the replay's mark."""

    path: Path
    captured: dict[str, Any]
    replayed: dict[str, Any]
    start_s: float
    end_s: float

    @property
    def mark(self) -> str:
        return str(self.replayed["replay"])

    @property
    def shift_s(self) -> float:
        return float(self.replayed["shift_s"])


@pytest.fixture(scope="module")
def trip(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> RoundTrip:
    folder = tmp_path_factory.mktemp("replay")
    start = time.time()
    stack.signalbox("fault", "set", "charge-errors", "--percent", "50", "--for", str(SLICE_S))
    with sign_in(stack.urls) as user:
        while time.time() < start + SLICE_S:
            user.get("/v1/products?limit=10")
            user.post("/v1/orders", json={"user_id": 7, "items": [{"product_id": 4_321, "quantity": 1}]})
            time.sleep(0.1)
    end = time.time()
    time.sleep(SETTLE_S)  # the last spans and lines are still on their way; there is nothing to poll for
    path = folder / "slice.zip"
    bounds = ("--from", at(start), "--to", at(end))
    capture = stack.signalbox("incident", "capture", *bounds, "--out", str(path), "--json", timeout_s=WAIT_S)
    assert capture.returncode == 0, capture.stderr[-3000:]
    replay = stack.signalbox("incident", "replay", str(path), "--json", timeout_s=WAIT_S)
    assert replay.returncode == 0, replay.stderr[-3000:]
    captured = json.loads(capture.stdout)
    return RoundTrip(path, captured, json.loads(replay.stdout), captured["start_ms"] / 1000, captured["end_ms"] / 1000)


def at(moment: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))


def counts(trip: RoundTrip) -> dict[str, int]:
    found: dict[str, int] = {}
    for part in trip.captured["parts"].values():
        found |= part["counts"]
    return found


def both(trip: RoundTrip, backends: Backends, query: str) -> tuple[dict[str, float], dict[str, float]]:
    """A query with `$mark` for a matcher and `$range` for the slice: live at its time, and replayed at the other."""
    answers = []
    for mark, shift_s in (('replay=""', 0.0), (f'replay="{trip.mark}"', trip.shift_s)):
        asked = query.replace("$mark", mark).replace("$range", f"{round((trip.end_s - trip.start_s) * 1000)}ms")
        answer = backends.http.get(
            f"{backends.urls['prometheus']}/api/v1/query",
            params={"query": asked, "time": f"{trip.end_s + shift_s:.3f}"},
            timeout=60,
        ).json()
        assert answer["status"] == "success", answer
        samples = answer["data"]["result"]
        answers.append({json.dumps(one["metric"], sort_keys=True): float(one["value"][1]) for one in samples})
    return answers[0], answers[1]


def test_the_slice_holds_what_an_incident_leaves(trip: RoundTrip) -> None:
    found = counts(trip)
    assert found["samples"] > 10_000
    assert found["exemplars"] > 0
    assert found["lines"] > 20
    assert found["traces"] > 20
    assert trip.captured["cut"] == []
    assert trip.replayed["shift_s"] % 86_400 == 0
    assert trip.replayed["shift_s"] < 0  # this stack has live samples at the slice's own time


def test_everything_was_loaded(trip: RoundTrip) -> None:
    found = counts(trip)
    assert trip.replayed["loaded"] == {name: found[name] for name in ("samples", "exemplars", "lines", "traces")}


def test_every_sample_of_every_series_is_there_and_no_other(trip: RoundTrip, backends: Backends) -> None:
    expected: Counter[Any] = Counter()
    with Bundle(trip.path) as bundle:
        for series in bundle.series():
            expected.update(samples(series, {"replay": trip.mark}, round(trip.shift_s * 1000)))
    assert samples_of(trip, backends) == expected


@pytest.mark.parametrize(
    "query",
    [
        "sum by (job) (count_over_time(up{$mark}[$range]))",
        "sum by (le, http_route) (count_over_time(http_server_request_duration_seconds_bucket{$mark}[$range]))",
        "sum by (http_route, outcome) (increase(http_server_request_duration_seconds_count{$mark}[$range]))",
        "sum by (job) (last_over_time(http_server_request_duration_seconds_sum{$mark}[$range]))",
        f"histogram_quantile(0.5, {BUCKETS})",
        f"histogram_quantile(0.99, {BUCKETS})",
        "max by (job) (max_over_time(process_resident_memory_bytes{$mark}[$range]))",
    ],
)
def test_counts_rates_and_quantiles_are_equal(trip: RoundTrip, backends: Backends, query: str) -> None:
    live, replayed = both(trip, backends, query)
    assert live
    assert replayed == pytest.approx(live, rel=1e-9, nan_ok=True)


def test_every_line_has_its_text_time_and_metadata(trip: RoundTrip, backends: Backends) -> None:
    with Bundle(trip.path) as bundle:
        names = traces_by_new_name(trip, backends)
        expected = Counter(
            (line.at_ns + round(trip.shift_s) * 10**9, renamed(line.text, names), line.labels.get("service_name"))
            for line in bundle.lines()
        )
    found = Counter(lines_of(trip, backends))
    assert found == expected


def test_every_trace_has_its_tree_names_kinds_and_status(trip: RoundTrip, backends: Backends) -> None:
    with Bundle(trip.path) as bundle:
        expected = Counter(shape(trace, trip.shift_s) for trace in bundle.traces())
    assert Counter(shape(trace, 0.0) for trace in loaded_traces(trip, backends)) == expected


def test_an_exemplar_still_leads_to_its_trace_and_that_to_its_lines(trip: RoundTrip, backends: Backends) -> None:
    start, end = trip.start_s + trip.shift_s, trip.end_s + trip.shift_s
    answer = backends.http.get(
        f"{backends.urls['prometheus']}/api/v1/query_exemplars",
        params={
            "query": f'http_server_request_duration_seconds_bucket{{job="api",replay="{trip.mark}"}}',
            "start": start,
            "end": end,
        },
    ).json()
    ids = [one["labels"]["trace_id"] for data in answer["data"] for one in data["exemplars"]]
    assert ids
    present = {trace.trace_id for trace in loaded_traces(trip, backends)}
    kept = [trace_id for trace_id in ids if trace_id in present]
    assert len(kept) >= 0.8 * len(ids)  # the slice's edges cut some traces off
    lines = [text for _, text, _ in lines_of(trip, backends, f'| trace_id="{kept[0]}"')]
    assert lines


def test_replaying_twice_doubles_nothing(trip: RoundTrip, stack: Stack, backends: Backends) -> None:
    before = samples_of(trip, backends)
    again = stack.signalbox("incident", "replay", str(trip.path), "--json", timeout_s=WAIT_S)
    assert again.returncode == 0, again.stderr[-3000:]
    document = json.loads(again.stdout)
    found = counts(trip)
    assert document["replay"] == trip.mark
    assert document["present"] == {name: found[name] for name in ("lines", "traces")}
    assert document["loaded"]["lines"] == document["loaded"]["traces"] == 0
    assert samples_of(trip, backends) == before
    assert sum(1 for _ in lines_of(trip, backends)) == found["lines"]
    assert len(loaded_traces(trip, backends)) == found["traces"]


def test_a_time_that_is_taken_is_refused(trip: RoundTrip, stack: Stack) -> None:
    refused = stack.signalbox("incident", "replay", str(trip.path), "--at", at(trip.start_s), timeout_s=WAIT_S)
    assert refused.returncode == 1
    assert "Choose another --at" in refused.stderr.splitlines()[-1]


def test_a_broken_bundle_changes_nothing(trip: RoundTrip, stack: Stack, tmp_path: Path) -> None:
    broken = tmp_path / "broken.zip"
    broken.write_bytes(trip.path.read_bytes()[:-1_000])
    refused = stack.signalbox("incident", "replay", str(broken), timeout_s=WAIT_S)
    assert refused.returncode == 1
    assert refused.stderr.strip().endswith("Nothing was loaded.")


def test_drive_sends_the_captured_mix_again(trip: RoundTrip, stack: Stack, backends: Backends) -> None:
    served = 'sum by (http_route) (http_server_request_duration_seconds_count{job="api",replay=""})'
    before = {one["metric"]["http_route"]: float(one["value"][1]) for one in backends.query(served)}
    run = stack.signalbox(
        "incident", "replay", str(trip.path), "--no-load", "--drive", "--speed", "2", "--json", timeout_s=WAIT_S
    )
    assert run.returncode == 0, run.stderr[-3000:]
    drive = json.loads(run.stdout)["drive"]
    assert drive["sent"] == pytest.approx(drive["planned"], rel=0.3)
    assert {"GET /v1/products", "POST /v1/orders"} <= drive["routes"].keys()

    def arrived() -> bool:
        now = {one["metric"]["http_route"]: float(one["value"][1]) for one in backends.query(served)}
        orders = sum(drive["routes"]["POST /v1/orders"]["statuses"].values())
        return now["/v1/orders"] - before.get("/v1/orders", 0) >= 0.9 * orders

    eventually(arrived, "the service counts the driven orders", within_s=30)


def samples_of(trip: RoundTrip, backends: Backends) -> Counter[Any]:
    """Every replayed sample, as Prometheus has it."""

    async def read() -> Counter[Any]:
        found: Counter[Any] = Counter()
        place = Slice(round((trip.start_s + trip.shift_s) * 1000), round((trip.end_s + trip.shift_s) * 1000))
        async with httpx.AsyncClient(timeout=120) as client:
            source = Source("prometheus", backends.urls["prometheus"], {}, client)
            async for _, portion in Metrics(source, f'{{__name__=~".+",replay="{trip.mark}"}}', late=True).series(
                place
            ):
                for series in portion:
                    found.update(samples(series, {}, 0))
        return found

    return asyncio.run(read())


def samples(series: Series, more: dict[str, str], shift_ms: int) -> Iterator[Any]:
    """A series as (labels, time, value); NaN as text, which is equal to itself."""
    labels = frozenset({**series.labels, **more}.items())
    for moment, value in zip(series.times_ms, series.values, strict=True):
        yield labels, moment + shift_ms, value if value == "NaN" else float(value)


def lines_of(trip: RoundTrip, backends: Backends, more: str = "") -> Iterator[tuple[int, str, str]]:
    """Replayed lines as Loki tells them, by minute, so that none is beyond the limit."""
    start, end = (int((moment + trip.shift_s) * 1000) * 10**6 for moment in (trip.start_s, trip.end_s + 0.001))
    for begins in range(start, end, 5 * 10**9):
        answer = backends.http.get(
            f"{backends.urls['loki']}/loki/api/v1/query_range",
            params={
                "query": f'{{replay="{trip.mark}"}} {more}',
                "start": str(begins),
                "end": str(min(begins + 5 * 10**9, end)),
                "limit": "5000",
            },
            timeout=60,
        ).json()
        for stream in answer["data"]["result"]:
            for moment, text, *_ in stream["values"]:
                yield int(moment), text, stream["stream"].get("service_name")


def loaded_traces(trip: RoundTrip, backends: Backends) -> list[Trace]:
    """Replayed traces, read by id from Jaeger."""
    found = (backends.trace(trace_id) for trace_id in traces_by_new_name(trip, backends).values())
    return [convert_trace(document) for document in found if document]


def traces_by_new_name(trip: RoundTrip, backends: Backends) -> dict[str, str]:
    """Old id → new id, as the documents describe it."""
    place = Placement(
        trip.captured["id"],
        round((trip.start_s + trip.shift_s) * 1000),
        round((trip.end_s + trip.shift_s) * 1000),
        round(trip.shift_s * 1000),
    )
    with Bundle(trip.path) as bundle:
        ids = {trace.trace_id for trace in bundle.traces()}
        ids |= {line.metadata["trace_id"] for line in bundle.lines() if "trace_id" in line.metadata}
    return {trace_id: place.trace_id(trace_id) for trace_id in ids}


def renamed(text: str, names: dict[str, str]) -> str:
    for old in names.keys() & {word for word in text.replace('"', " ").split() if len(word) == 32}:
        text = text.replace(old, names[old])
    return text


def shape(trace: Trace, shift_s: float) -> tuple[Any, ...]:
    """Everything of a trace but its id: spans with parents, names, kinds, status, times, attributes and events."""
    return tuple(
        sorted(
            (
                span.spanId,
                span.parentSpanId,
                span.name,
                span.kind,
                span.status.code,
                int(span.startTimeUnixNano) + round(shift_s) * 10**9,
                int(span.endTimeUnixNano) - int(span.startTimeUnixNano),
                json.dumps(sorted(pair.model_dump_json() for pair in span.attributes)),
                len(span.events),
                len(span.links),
            )
            for span in trace.spans()
        )
    )
