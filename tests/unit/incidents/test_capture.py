"""Reading backends: nothing is lost or doubled between pages, nothing but GET is sent, and nobody prints a password."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from typer.testing import CliRunner

from incidents.bundle.form import Line, Trace
from incidents.bundle.read import Bundle
from incidents.capture import logs as log_reader
from incidents.capture.logs import Logs
from incidents.capture.metrics import Metrics
from incidents.capture.moments import Slice, TimeError, parse_moment, parse_slice
from incidents.capture.otlp import convert_trace
from incidents.capture.source import Source, SourceError, parse_headers
from incidents.capture.traces import Traces
from incidents.cli import app

pytestmark = pytest.mark.anyio
START_S = 1_780_000_000
SLICE = Slice(START_S * 1000, START_S * 1000 + 59_999)


class Fake:
    """A Prometheus, a Loki and a Jaeger in one server, with as little in them as the questions need."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.headers: list[dict[str, str]] = []
        self.lines: list[tuple[int, str]] = []
        self.trace_starts_us: dict[str, int] = {}
        self.most_samples = 10**9
        self.ended = ""
        self.status = 200
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                url = urlsplit(self.path)
                asked = {name: value[0] for name, value in parse_qs(url.query).items()}
                fake.asked.append((self.command, url.path, asked))
                fake.headers.append(dict(self.headers))
                status, document = fake.answer(url.path, asked)
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps(document).encode())

            do_POST = do_PUT = do_DELETE = do_GET

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def answer(self, path: str, asked: dict[str, str]) -> tuple[int, Any]:
        if self.status != 200:
            return self.status, {"error": "no"}
        found: Callable[[dict[str, str]], Any] = {
            "/api/v1/label/__name__/values": lambda _: ["a_total", "b_total"],
            "/api/v1/query": self.samples,
            "/api/v1/query_exemplars": lambda _: [],
            "/loki/api/v1/series": lambda _: [{"app": "shop"}, {"app": "till", "host": "h"}, {"job": "old"}],
            "/loki/api/v1/query_range": self.page,
            "/api/services": lambda _: ["api", "worker"],
            "/api/traces": self.traces,
        }[path]
        data = found(asked)
        return (422, {"error": "too many samples"}) if data is None else (200, {"status": "success", "data": data})

    def samples(self, asked: dict[str, str]) -> Any:
        """One sample a second of each name; closed at both ends, as Prometheus 2 has it."""
        ranged = re.search(r"\[(\d+)ms\]", asked["query"])
        if ranged is None:
            alive = [name for name in ("a_total", "b_total") if name in asked["query"] and name != self.ended]
            return {"resultType": "vector", "result": [{"metric": {"__name__": name}} for name in alive]}
        span_ms = int(ranged[1])
        end_ms = round(float(asked["time"]) * 1000)
        names = [name for name in ("a_total", "b_total") if name in asked["query"]]
        times = [
            at for at in range(SLICE.start_ms - 5_000, SLICE.end_ms + 5_000, 1000) if end_ms - span_ms <= at <= end_ms
        ]
        if len(times) * len(names) > self.most_samples:
            return None
        series = [
            {"metric": {"__name__": name}, "values": [[at / 1000, str(at // 1000)] for at in times]} for name in names
        ]
        return {"resultType": "matrix", "result": series}

    def page(self, asked: dict[str, str]) -> Any:
        start, end, limit = int(asked["start"]), int(asked["end"]), int(asked["limit"])
        chosen = [one for one in sorted(self.lines) if start <= one[0] < end][:limit]
        values = [[str(at), text, {"structuredMetadata": {"n": "1"}}] for at, text in chosen]
        return {"resultType": "streams", "result": [{"stream": {"app": "shop"}, "values": values}]}

    def traces(self, asked: dict[str, str]) -> Any:
        start, end, limit = int(asked["start"]), int(asked["end"]), int(asked["limit"])
        found = [(id_, at) for id_, at in self.trace_starts_us.items() if start <= at <= end]
        return [trace_document(id_, at) for id_, at in found[:limit]]


def trace_document(trace_id: str, at_us: int, **more: Any) -> dict[str, Any]:
    span = {
        "traceID": trace_id,
        "spanID": "1" * 16,
        "operationName": "GET /v1/orders",
        "references": [],
        "startTime": at_us,
        "duration": 1_000,
        "tags": [{"key": "span.kind", "type": "string", "value": "server"}],
        "logs": [],
        "processID": "p1",
        **more,
    }
    return {"traceID": trace_id, "spans": [span], "processes": {"p1": {"serviceName": "api", "tags": []}}}


@pytest.fixture
def fake() -> Iterator[Fake]:
    fake = Fake()
    yield fake
    fake.server.shutdown()
    fake.server.server_close()


@pytest.fixture
async def client() -> Any:
    async with httpx.AsyncClient() as client:
        yield client


def source(fake: Fake, client: httpx.AsyncClient, name: str = "prometheus") -> Source:
    return Source(name, fake.url, {}, client)


async def samples_of(metrics: Metrics) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    async for _, portion in metrics.series(SLICE):
        for series in portion:
            found.setdefault(series.labels["__name__"], []).extend(series.times_ms)
    return found


async def test_every_sample_of_the_slice_comes_once_and_in_order(fake: Fake, client: httpx.AsyncClient) -> None:
    expected = list(range(SLICE.start_ms, SLICE.end_ms + 1, 1000))
    assert await samples_of(Metrics(source(fake, client))) == {"a_total": expected, "b_total": expected}


async def test_a_series_that_ended_is_told_from_one_that_did_not(fake: Fake, client: httpx.AsyncClient) -> None:
    fake.ended = "b_total"
    ends = {}
    async for _, portion in Metrics(source(fake, client)).series(SLICE):
        ends |= {series.labels["__name__"]: (series.times_ms[-1], series.ended_ms) for series in portion}
    last = SLICE.end_ms - 999
    assert ends == {"a_total": (last, None), "b_total": (last, SLICE.end_ms)}


async def test_a_prometheus_that_finds_it_too_much_is_asked_for_less(fake: Fake, client: httpx.AsyncClient) -> None:
    fake.most_samples = 9
    expected = list(range(SLICE.start_ms, SLICE.end_ms + 1, 1000))
    assert await samples_of(Metrics(source(fake, client))) == {"a_total": expected, "b_total": expected}


async def test_what_cannot_be_halved_any_more_is_said(fake: Fake, client: httpx.AsyncClient) -> None:
    fake.most_samples = 0
    with pytest.raises(SourceError, match="one second of a_total is too large"):
        await samples_of(Metrics(source(fake, client)))


@pytest.mark.parametrize("selector", ["", "{}", "sum(up)", "up[5m]"])
async def test_what_is_no_selector_is_refused(selector: str, fake: Fake, client: httpx.AsyncClient) -> None:
    with pytest.raises(SourceError, match="no series selector"):
        Metrics(source(fake, client), selector)


async def test_a_selector_is_joined_with_the_names(fake: Fake, client: httpx.AsyncClient) -> None:
    await samples_of(Metrics(source(fake, client), 'up{job="api"}'))
    queries = [asked["query"] for _, path, asked in fake.asked if path == "/api/v1/query"]
    assert queries[0].startswith('{__name__="up",job="api",__name__=~"a_total|b_total"}[')


async def read(logs: Logs) -> list[Line]:
    return [line async for _, page in logs.lines(SLICE) for line in page]


async def test_no_line_is_lost_or_doubled_between_pages(
    fake: Fake, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages of seven, and up to five lines in one nanosecond, so that pages end inside of one."""
    monkeypatch.setattr(log_reader, "PAGE", 7)
    fake.lines = [(START_S * 10**9 + (n // 5) * 1_000, f"line {n}") for n in range(200)]
    found = await read(Logs(source(fake, client, "loki"), "{}"))
    assert sorted(line.text for line in found) == sorted(text for _, text in fake.lines)
    assert found[0].metadata == {"n": "1"}


async def test_a_nanosecond_with_more_lines_than_a_page_grows_the_page(
    fake: Fake, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_reader, "PAGE", 4)
    fake.lines = [(START_S * 10**9, f"line {n}") for n in range(50)] + [(START_S * 10**9 + 1, "last")]
    assert len(await read(Logs(source(fake, client, "loki"), "{}"))) == 51


async def test_a_nanosecond_that_no_page_holds_is_cut_and_counted(
    fake: Fake, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_reader, "PAGE", 4)
    monkeypatch.setattr(log_reader, "LARGEST_PAGE", 8)
    fake.lines = [(START_S * 10**9, f"line {n}") for n in range(50)] + [(START_S * 10**9 + 1, "last")]
    logs = Logs(source(fake, client, "loki"), "{}")
    assert [line.text for line in await read(logs)][-1] == "last"
    assert logs.skipped_ns == 1


async def test_all_streams_are_covered_and_none_twice(fake: Fake, client: httpx.AsyncClient) -> None:
    await read(Logs(source(fake, client, "loki")))
    assert [asked["query"] for _, path, asked in fake.asked if path.endswith("query_range")] == [
        '{app=~".+",replay=""}',
        '{job=~".+",app="",replay=""}',
    ]


async def traces_of(traces: Traces) -> list[Trace]:
    return [trace async for _, found in traces.traces(SLICE) for trace in found]


async def test_a_search_that_is_full_is_halved_until_every_trace_was_found_once(
    fake: Fake, client: httpx.AsyncClient
) -> None:
    fake.trace_starts_us = {f"{n:032x}": START_S * 10**6 + n * 10_000 for n in range(1, 1_001)}
    traces = Traces(source(fake, client, "jaeger"))
    found = await traces_of(traces)
    assert sorted(trace.trace_id for trace in found) == sorted(fake.trace_starts_us)
    assert traces.cut_searches == 0


async def test_a_millisecond_with_too_many_traces_is_cut_and_counted(fake: Fake, client: httpx.AsyncClient) -> None:
    fake.trace_starts_us = {f"{n:032x}": START_S * 10**6 for n in range(1, 300)}
    traces = Traces(source(fake, client, "jaeger"), ("api",))
    assert len(await traces_of(traces)) == 200
    assert traces.cut_searches > 0


async def test_a_trace_with_absurd_times_is_left_out_and_counted(fake: Fake, client: httpx.AsyncClient) -> None:
    fake.trace_starts_us = {"1" * 32: START_S * 10**6}
    traces = Traces(source(fake, client, "jaeger"), ("api",))
    document = trace_document("2" * 32, 1)
    assert traces._convert(document, SLICE) == []
    assert traces._convert({"traceID": "3" * 32}, SLICE) == []
    assert traces.unreadable == 2


def test_jaegers_additions_become_fields_of_otlp_again() -> None:
    tags = [
        {"key": "span.kind", "type": "string", "value": "client"},
        {"key": "error", "type": "bool", "value": True},
        {"key": "otel.status_code", "type": "string", "value": "ERROR"},
        {"key": "otel.status_description", "type": "string", "value": "refused"},
        {"key": "otel.scope.name", "type": "string", "value": "door"},
        {"key": "n", "type": "int64", "value": 2**62},
        {"key": "share", "type": "float64", "value": 0.5},
        {"key": "hit", "type": "bool", "value": False},
    ]
    logs = [{"timestamp": 7, "fields": [{"key": "event", "type": "string", "value": "exception"}]}]
    references = [
        {"refType": "CHILD_OF", "traceID": "1" * 32, "spanID": "a" * 16},
        {"refType": "FOLLOWS_FROM", "traceID": "2" * 32, "spanID": "b" * 16},
    ]
    trace = convert_trace(trace_document("1" * 32, 5, tags=tags, logs=logs, references=references))
    (span,) = trace.spans()
    assert (span.kind, span.status.code, span.status.message) == (3, 2, "refused")
    assert (span.parentSpanId, [link.spanId for link in span.links]) == ("a" * 16, ["b" * 16])
    assert (span.startTimeUnixNano, span.endTimeUnixNano) == ("5000", "1005000")
    assert [(event.timeUnixNano, event.name) for event in span.events] == [("7000", "exception")]
    assert trace.resourceSpans[0].scopeSpans[0].scope.name == "door"
    values = {pair.key: pair.value.model_dump(exclude_none=True) for pair in span.attributes}
    assert values == {"n": {"intValue": str(2**62)}, "share": {"doubleValue": 0.5}, "hit": {"boolValue": False}}


def test_a_whole_capture_sends_nothing_but_get_and_is_read_back(fake: Fake, tmp_path: Path) -> None:
    fake.lines = [(START_S * 10**9, "ann@example.com came")]
    fake.trace_starts_us = {"1" * 32: START_S * 10**6}
    out = tmp_path / "x.zip"
    addresses = [word for name in ("prometheus", "loki", "jaeger") for word in (f"--{name}", fake.url)]
    times = ["--from", "2026-05-28T20:26:40Z", "--to", "2026-05-28T20:27:39.999Z"]
    done = CliRunner().invoke(app, ["capture", *times, *addresses, "--out", str(out), "--json"])
    assert done.exit_code == 0, done.output
    assert {method for method, _, _ in fake.asked} == {"GET"}
    document = json.loads(done.stdout)
    assert document["parts"]["metrics.jsonl"]["counts"] == {"samples": 120, "series": 2}
    assert document["redacted"] == {"email": 2}  # two selectors cover the streams; the fake answers both
    with Bundle(out) as bundle:
        bundle.check()
        assert "example.com" not in next(bundle.lines()).text


def test_credentials_come_from_the_environment_and_are_not_repeated(fake: Fake, tmp_path: Path) -> None:
    fake.status = 401
    secret = "tooSecretToBeTold"
    done = CliRunner().invoke(
        app,
        ["capture", "--from", "-5m", "--prometheus", fake.url, "--out", str(tmp_path / "x.zip")],
        env={"SIGNALBOX_CAPTURE_PROMETHEUS_TOKEN": secret},
    )
    assert done.exit_code == 1
    assert fake.headers[0]["Authorization"] == f"Bearer {secret}"
    assert secret not in done.output
    assert "SIGNALBOX_CAPTURE_PROMETHEUS_TOKEN" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_password_in_an_address_is_refused_without_repeating_it(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["capture", "--from", "-5m", "--loki", "http://me:hunter2@127.0.0.1:1"])
    assert done.exit_code != 0
    assert "hunter2" not in done.output


def test_headers_come_from_a_file_as_well(tmp_path: Path) -> None:
    file = tmp_path / "headers.yaml"
    file.write_text("loki: {X-Scope-OrgID: shop}\n")
    environment = {"SIGNALBOX_CAPTURE_LOKI_USER": "me", "SIGNALBOX_CAPTURE_LOKI_PASSWORD": "x"}
    assert parse_headers(environment, file)["loki"] == {"Authorization": "Basic bWU6eA==", "X-Scope-OrgID": "shop"}
    file.write_text("secretvalue")
    with pytest.raises(SourceError) as refused:
        parse_headers({}, file)
    assert "secretvalue" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", 1000.0),
        ("-15m", 100.0),
        ("-1.5s", 998.5),
        ("1970-01-01T00:00:10Z", 10.0),
        ("1970-01-01T01:00:00+01:00", 0),
    ],
)
def test_times_may_be_relative_or_rfc_3339(text: str, expected: float) -> None:
    assert parse_moment(text, 1000.0) == expected


@pytest.mark.parametrize(
    ("start", "end", "why"),
    [
        ("yesterday", "now", "is no time"),
        ("2026-01-01T00:00:00", "now", "no time zone"),
        ("-5m", "-10m", "empty"),
        ("-8d", "now", "longer than"),
        ("1970-01-01T00:00:00Z", "now", "too long ago"),
        ("-999999999d", "now", "too long ago"),
    ],
)
def test_a_slice_that_makes_no_sense_is_refused(start: str, end: str, why: str) -> None:
    with pytest.raises(TimeError, match=why):
        parse_slice(start, end, float(START_S))
