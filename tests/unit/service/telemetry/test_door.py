"""The whole door in memory: a real application, real spans, the bytes and lines that would leave the process."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from fastapi import APIRouter, BackgroundTasks, FastAPI
from fastapi.responses import StreamingResponse
from opentelemetry import baggage, trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as WireSpan
from opentelemetry.trace import SpanKind

from service import telemetry
from service.telemetry import otlp
from service.telemetry.routes import RouteTemplates
from service.telemetry.spans import Tracer
from service.telemetry.testing import Recorded

pytestmark = pytest.mark.anyio


def an_app(recorded: Recorded) -> FastAPI:
    app = FastAPI(telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False})
    router = APIRouter(prefix="/v1")

    @router.get("/things/{thing_id}")
    async def read_thing(thing_id: int) -> dict[str, int]:
        with telemetry.span("things.find", attributes={"thing.kind": "small"}):
            logging.getLogger("things").warning("looking for it", extra={"shelf": 3})
        return {"id": thing_id}

    @router.get("/broken")
    async def broken() -> None:
        raise RuntimeError("password=hunter2 at the end")

    @router.get("/refused", status_code=503)
    async def refused() -> dict[str, str]:
        return {}

    @router.get("/stream")
    async def stream() -> StreamingResponse:
        async def chunks() -> Any:
            for _ in range(3):
                yield b"x"

        return StreamingResponse(chunks())

    @router.get("/later")
    async def later(tasks: BackgroundTasks) -> None:
        tasks.add_task(lambda: 1 / 0)

    app.include_router(router, prefix="/api")
    inner = FastAPI(telemetry={"tracing": False})

    @inner.get("/deep/{level}")
    async def deep(level: int) -> int:
        return level

    app.mount("/mounted", inner)
    recorded.telemetry.instrument_app(app)
    return app


@dataclass
class Client:
    http: httpx2.AsyncClient

    async def get(self, path: str, **headers: str) -> httpx2.Response:
        return await self.http.get(path, headers=headers)


@pytest.fixture
async def client(recorded: Recorded) -> Any:
    transport = httpx2.ASGITransport(an_app(recorded), raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as http:
        yield Client(http)


async def test_a_request_becomes_a_span_a_line_and_a_sample_with_exemplar(client: Client, recorded: Recorded) -> None:
    response = await client.get("/api/v1/things/7?secret=1")

    server, inner = recorded.span("GET /api/v1/things/{thing_id}"), recorded.span("things.find")
    assert response.headers["x-trace-id"] == server.trace_id.hex() == inner.trace_id.hex()
    assert inner.parent_span_id == server.span_id
    assert recorded.attributes(server) == {
        "http.request.method": "GET",
        "http.route": "/api/v1/things/{thing_id}",
        "http.response.status_code": 200,
        "url.scheme": "http",
        "signalbox.request.id": response.headers["x-request-id"],
        "signalbox.exemplar": True,
    }
    line = recorded.line("GET /api/v1/things/{thing_id} 200")
    assert line["trace_id"] == server.trace_id.hex()
    assert line["service.name"] == "tested"
    assert line["outcome"] == "good"
    inside = recorded.line("looking for it")
    assert (inside["trace_id"], inside["span_id"]) == (inner.trace_id.hex(), inner.span_id.hex())
    assert inside["shelf"] == 3
    sample = next(
        line
        for line in recorded.metrics_text().splitlines()
        if line.startswith("http_server_request_duration_seconds_bucket") and "things" in line and "# {" in line
    )
    assert f'trace_id="{server.trace_id.hex()}"' in sample
    assert "secret" not in recorded.everything()


@pytest.mark.parametrize(
    ("path", "route", "status", "outcome"),
    [
        ("/api/v1/things/1", "/api/v1/things/{thing_id}", 200, "good"),
        ("/api/v1/things/one", "/api/v1/things/{thing_id}", 422, "good"),
        ("/nowhere/at/all", "unmatched", 404, "good"),
        ("/api/v1/broken", "/api/v1/broken", 500, "bad"),
        ("/api/v1/refused", "/api/v1/refused", 503, "bad"),
        ("/api/v1/stream", "/api/v1/stream", 200, "good"),
        ("/api/v1/later", "/api/v1/later", 200, "good"),
        ("/mounted/deep/3", "/mounted/deep/{level}", 200, "good"),
    ],
)
async def test_every_way_to_answer_is_counted_once_by_route_template(
    client: Client, recorded: Recorded, path: str, route: str, status: int, outcome: str
) -> None:
    before = recorded.requests(route, status, outcome)
    await client.get(path)
    assert recorded.requests(route, status, outcome) == before + 1
    line = recorded.line(f"GET {route} {status}")
    assert line["outcome"] == outcome


async def test_an_unhandled_exception_is_on_the_span_and_in_a_correlated_line_without_its_secret(
    client: Client, recorded: Recorded
) -> None:
    await client.get("/api/v1/broken")
    span = recorded.span("GET /api/v1/broken")
    assert span.status.code == 2
    (exception,) = span.events
    assert exception.name == "exception"
    line = recorded.line("unhandled exception")
    assert line["trace_id"] == span.trace_id.hex()
    assert "RuntimeError" in line["exception.stacktrace"]
    assert "hunter2" not in recorded.everything()


async def test_the_callers_trace_is_continued_and_nonsense_is_not(client: Client, recorded: Recorded) -> None:
    trace_id, span_id = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    await client.get("/api/v1/things/1", traceparent=f"00-{trace_id}-{span_id}-01")
    span = recorded.span("GET /api/v1/things/{thing_id}")
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (trace_id, span_id)
    for nonsense in ("", "00-0-0-00", f"00-{'0' * 32}-{span_id}-01", f"ff-{trace_id}-{span_id}-01", "ü" * 55):
        recorded.clear()
        await client.http.get("/api/v1/things/1", headers=[(b"traceparent", nonsense.encode())])
        span = recorded.span("GET /api/v1/things/{thing_id}")
        assert span.trace_id.hex() != trace_id
        assert span.parent_span_id == b""


async def test_probes_and_scrapes_are_not_observed(client: Client, recorded: Recorded) -> None:
    await client.get("/metrics")
    await client.get("/livez")
    assert recorded.spans() == []


async def test_what_asks_for_metrics_otherwise_than_a_scrape_gets_the_applications_answer(client: Client) -> None:
    refused = await client.http.post("/metrics")
    assert (refused.status_code, set(refused.headers["allow"].split(", "))) == (405, {"GET", "HEAD"})
    assert (await client.http.get("/metrics/")).status_code == 307


async def test_a_route_that_cannot_be_told_costs_the_span_and_not_the_request(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: RouteTemplates, scope: object) -> str:
        raise RuntimeError("no name")

    monkeypatch.setattr(RouteTemplates, "template", fail)
    app = an_app(recorded)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://test") as http:
        assert (await http.get("/api/v1/things/1")).status_code == 200
    assert recorded.line("a span could not be recorded")["error.type"] == "RuntimeError"
    dropped = {"signal": "spans", "reason": "encoding"}
    registry = recorded.telemetry.instruments.registry
    assert registry.get_sample_value("telemetry_dropped_total", dropped) == 1


async def test_strangers_cannot_grow_the_number_of_series(client: Client, recorded: Recorded) -> None:
    for number in range(300):
        await client.http.request(f"M{number}", f"/random/{number}")
    series = [line for line in recorded.metrics_text().splitlines() if line.startswith("http_server_request_duration")]
    assert len(series) < 400
    assert recorded.requests("unmatched", 404, "good", method="_OTHER") == 300


async def test_a_job_continues_the_trace_of_who_enqueued_it(recorded: Recorded) -> None:
    with telemetry.span("orders.create", kind=SpanKind.PRODUCER):
        headers = telemetry.carrier()
    with telemetry.consumer_span("orders.fulfil", headers):
        assert telemetry.trace_id() == headers["traceparent"][3:35]
    producer, consumer = recorded.span("orders.create"), recorded.span("orders.fulfil")
    assert consumer.trace_id == producer.trace_id
    assert consumer.parent_span_id == producer.span_id


@pytest.mark.parametrize("path", ["/api/v1/things/1", "/api/v1/things/one", "/api/v1/broken", "/nowhere"])
async def test_a_request_keeps_the_name_it_came_with_on_answer_span_and_lines(
    client: Client, recorded: Recorded, path: str
) -> None:
    given = "6f9619ff-8b86-d011-b42d-00cf4fc964ff"
    answer = await client.http.get(path, headers={"x-request-id": given})
    assert answer.headers.get_list("x-request-id") == [given]
    [server] = [span for span in recorded.spans() if span.kind == WireSpan.SPAN_KIND_SERVER]
    assert recorded.attributes(server)["signalbox.request.id"] == given
    assert {line["request_id"] for line in recorded.lines() if "trace_id" in line} == {given}


async def test_a_request_without_a_name_or_with_one_that_could_be_anything_gets_a_new_one(
    client: Client, recorded: Recorded
) -> None:
    names = set()
    for given in (b"", b"a b", b'"}', b"x" * 65, b"caf\xe9", b"one\x1b[2J", b"{jndi}"):
        answer = await client.http.get("/api/v1/things/1", headers=[(b"x-request-id", given)])
        names.add(answer.headers["x-request-id"])
    names.add((await client.get("/api/v1/things/1")).headers["x-request-id"])
    assert len(names) == 8
    assert all(len(name) == 32 and set(name) <= set("0123456789abcdef") for name in names)
    assert {line["request_id"] for line in recorded.lines() if line["logger"] == "http.server"} == names


async def test_the_name_of_a_request_travels_to_who_is_called_and_with_a_job(recorded: Recorded) -> None:
    heard: list[str | None] = []
    other = httpx2.AsyncClient(
        base_url="http://payments",
        transport=httpx2.MockTransport(
            lambda request: heard.append(request.headers.get("x-request-id")) or httpx2.Response(200)
        ),
    )
    recorded.telemetry.instrument_http_client(other, peer="payments")
    app = FastAPI()
    jobs: list[dict[str, str]] = []

    @app.post("/orders")
    async def order() -> str | None:
        with telemetry.span("orders.place"):
            await other.post("/charges")
            jobs.append(telemetry.carrier())
        return telemetry.request_id()

    recorded.telemetry.instrument_app(app)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://test") as http:
        assert (await http.post("/orders", headers={"x-request-id": "order-7"})).json() == "order-7"
    with telemetry.consumer_span("orders.fulfil", jobs[0]):
        logging.getLogger("service.data.consumer").info("job done")
        await other.post("/charges")
    assert heard == ["order-7", "order-7"]
    assert recorded.line("job done")["request_id"] == "order-7"
    assert recorded.attributes(recorded.span("orders.fulfil"))["signalbox.request.id"] == "order-7"
    with telemetry.consumer_span("stock.release-expired", {"x-request-id": "{jndi}"}):
        assert telemetry.request_id() is None
        assert telemetry.carrier().keys() == {"traceparent"}
        await other.post("/charges")
    assert heard[2] is None


def test_any_user_of_the_api_gets_whole_spans(recorded: Recorded) -> None:
    tracer = Tracer(recorded.telemetry.sink)
    token = baggage.set_baggage("who", "me")
    with tracer.start_as_current_span("outer", context=token, attributes={"a": [1, 2], "b": 0.5}) as outer:
        outer.add_event("half", {"n": 1})
        with tracer.start_as_current_span(
            "linked", links=[trace.Link(outer.get_span_context(), {"why": "x"})]
        ) as inner:
            assert trace.get_current_span() is inner
            for number in range(200):
                inner.set_attribute(f"k{number}", number)
    with pytest.raises(KeyError), tracer.start_as_current_span("fails"):
        raise KeyError("nothing here")
    outer_sent, inner_sent, failed = recorded.span("outer"), recorded.span("linked"), recorded.span("fails")
    assert recorded.attributes(outer_sent)["b"] == 0.5
    assert outer_sent.events[0].name == "half"
    assert inner_sent.parent_span_id == outer_sent.span_id
    assert inner_sent.links[0].span_id == outer_sent.span_id
    assert (len(inner_sent.attributes), inner_sent.dropped_attributes_count) == (128, 72)
    assert failed.status.code == 2
    assert failed.events[0].name == "exception"


@pytest.mark.parametrize(
    "value", ["text", "", "ü" * 5000, True, False, 0, -1, 2**63 - 1, 0.1, ["a", "b"], [1, 2], None]
)
def test_attribute_values_survive_the_wire(value: object) -> None:
    span = otlp.SpanShape("n", 1, {"k": value}).encode(b"t" * 16, b"s" * 8, b"", 1, 2)
    body = otlp.export_request({"service.name": "x"}, "scope", "1", [span])
    decoded = ExportTraceServiceRequest.FromString(body).resource_spans[0]
    (found,) = decoded.scope_spans[0].spans[0].attributes
    got = Recorded.value(found.value)
    assert got == (
        [*value] if isinstance(value, list) else str(value)[:4096] if isinstance(value, (str, type(None))) else value
    )
    assert decoded.scope_spans[0].spans[0].flags == 1


def test_ids_differ_after_fork(recorded: Recorded) -> None:
    from service.telemetry.spans import Span

    read, write = os.pipe()
    sink: Callable[[Any], None] = lambda span: None  # noqa: E731
    child = os.fork()
    if child == 0:
        os.write(write, b"".join(Span("x", SpanKind.INTERNAL, None, sink).ids()))
        os._exit(0)
    os.waitpid(child, 0)
    in_child = os.read(read, 4096)
    assert len(in_child) == 24
    assert in_child != b"".join(Span("x", SpanKind.INTERNAL, None, sink).ids())


@pytest.mark.parametrize("parent", [b"", b"p" * 8])
@pytest.mark.parametrize("attributes", [None, {"http.route": "/v1/users/{user_id}", "long": "x" * 300}])
def test_a_span_is_laid_out_by_the_lengths_of_its_parts(parent: bytes, attributes: dict[str, object] | None) -> None:
    shape = otlp.SpanShape("GET /v1/users/{user_id}", 2, attributes)
    began, ended = 1_700_000_000_000_000_000, 1_700_000_000_000_000_999
    rests = [b"", *(otlp.status_field(2, "n" * length) for length in (1, 2, 2, *range(100, 400)))]
    fields = [shape.encode(b"t" * 16, b"s" * 8, parent, began, ended, rest) for rest in rests]
    sent = ExportTraceServiceRequest.FromString(otlp.export_request({}, "s", "1", fields))
    first, *others = sent.resource_spans[0].scope_spans[0].spans
    assert [len(span.status.message) for span in others] == [1, 2, 2, *range(100, 400)]
    for span in others:
        span.ClearField("status")
        assert span == first
    assert (first.trace_id, first.span_id, first.parent_span_id) == (b"t" * 16, b"s" * 8, parent)
    assert (first.start_time_unix_nano, first.end_time_unix_nano) == (began, ended)
    assert (first.name, first.kind, first.flags) == ("GET /v1/users/{user_id}", 2, 1)
    assert len(first.attributes) == len(attributes or {})
