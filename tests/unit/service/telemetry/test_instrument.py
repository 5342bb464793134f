"""One call for any application: a real server in front, and what is told of each way a request can go."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from opentelemetry import trace
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import connect

from service.telemetry import instrument
from service.telemetry.testing import Recorded, former_door
from tests.unit.service.telemetry.applications import WORK_S, Broken, build_fastapi, build_starlette
from tests.unit.service.telemetry.serving import Served


@pytest.fixture(scope="module", params=[build_starlette, build_fastapi], ids=["starlette", "fastapi"])
def serving(request: pytest.FixtureRequest) -> Iterator[Served]:
    with former_door():
        served = Served(request.param())
        try:
            yield served
        finally:
            served.stop()


@pytest.fixture
def served(serving: Served) -> Served:
    serving.recorded.clear()
    return serving


EVERYWHERE = [
    # path, route, status, outcome, error of the server span
    ("/broken", "/broken", 500, "bad", "Broken"),
    ("/in-asgi-middleware", "unmatched", 500, "bad", "Broken"),
    ("/in-http-middleware", "unmatched", 500, "bad", "Broken"),
    ("/later", "/later", 200, "good", None),
    ("/stream", "/stream", 200, "good", None),
    ("/sync-stream", "/sync-stream", 200, "good", None),
    ("/broken-stream", "/broken-stream", 200, "bad", "Broken"),
    ("/slow", "/slow", 200, "good", None),
    ("/opaque/and/deep", "/opaque", 500, "bad", "RuntimeError"),
    ("/nowhere", "unmatched", 404, "good", None),
]
ONLY = {
    Starlette: [
        ("/things/3", "/things/{thing_id}", 200, "good", None),
        ("/api/v7/things/3/", "/api/{version}/things/{thing_id}/", 200, "good", None),
        ("/api/v7/things/3", "unmatched", 307, "good", None),
        ("/api/v7/nothing", "unmatched", 404, "good", None),
    ],
    FastAPI: [
        ("/api/v1/things/3", "/api/v1/things/{thing_id}", 200, "good", None),
        ("/api/v1/things/x", "/api/v1/things/{thing_id}", 422, "good", None),
        ("/mounted/deep/3", "/mounted/deep/{level}", 200, "good", None),
        ("/in-dependency", "/in-dependency", 500, "bad", "Broken"),
        ("/in-dependency-exit", "/in-dependency-exit", 200, "bad", "Broken"),
    ],
}


def test_status_span_sample_and_line_agree_for_every_way_a_request_can_go(served: Served) -> None:
    recorded = served.recorded
    for path, route, status, outcome, error in [*EVERYWHERE, *ONLY[type(served.app)]]:
        recorded.clear()
        before = recorded.requests(route, status, outcome)
        answer = None
        with contextlib.suppress(httpx2.TransportError):  # a broken stream is cut off
            answer = served.http.get(path)
        assert path == "/broken-stream" if answer is None else answer.status_code == status, path
        span = served.server_span()
        attributes = recorded.attributes(span)
        assert recorded.requests(route, status, outcome) == before + 1, path
        line = recorded.line(f"GET {route} {status}")
        assert (line["outcome"], line["trace_id"]) == (outcome, span.trace_id.hex()), path
        assert (str(attributes.get("error.type")).rpartition(".")[2], span.status.code) == (
            (error, 2) if error else ("None", 0)
        ), path
        assert attributes.get("http.route", "unmatched") == route, path
        if answer is not None and outcome == "good" and status == 200:
            assert answer.headers["x-trace-id"] == span.trace_id.hex()


def test_the_duration_is_the_answers_not_the_background_tasks(served: Served) -> None:
    served.http.get("/later")
    span = served.server_span()
    later = served.recorded.span("after response")
    assert later.parent_span_id == span.span_id
    assert later.status.code == 2
    assert later.start_time_unix_nano == pytest.approx(span.end_time_unix_nano, abs=1e6)  # each round reads the clock
    assert (later.end_time_unix_nano - later.start_time_unix_nano) / 1e9 > WORK_S * 0.9
    assert served.recorded.line("unhandled exception")["trace_id"] == span.trace_id.hex()


def test_the_duration_of_a_stream_lasts_to_its_last_byte(served: Served) -> None:
    served.http.get("/stream")
    span = served.server_span()
    assert (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9 > 0.025


def test_a_span_in_a_generator_that_moves_between_threads_is_whole(served: Served) -> None:
    assert served.http.get("/sync-stream").text == "xy"
    server = served.server_span()
    assert served.recorded.span("dripping").trace_id == server.trace_id
    assert not [line for line in served.recorded.lines() if line["severity"] == "ERROR"]


def test_who_leaves_in_the_middle_of_a_stream_is_excluded(served: Served) -> None:
    connection = served.raw("GET /endless HTTP/1.1\nhost: test\n\n")
    assert connection.recv(4096).startswith(b"HTTP/1.1 200")
    connection.close()
    span = served.server_span()
    assert span.status.code == 0
    assert served.recorded.line("GET /endless 200")["outcome"] == "excluded"


def test_who_leaves_in_the_middle_of_an_upload_is_excluded_whatever_the_application_makes_of_it(
    served: Served,
) -> None:
    connection = served.raw("POST /upload HTTP/1.1\nhost: test\ncontent-length: 1000\n\nabc")
    time.sleep(0.1)
    connection.close()
    span = served.server_span()
    assert span.status.code == 0
    line = served.recorded.line("POST /upload -")
    assert line["outcome"] == "excluded"


def test_who_leaves_while_a_handler_works_does_not_hide_how_long_it_took(served: Served) -> None:
    served.raw("GET /slow HTTP/1.1\nhost: test\n\n").close()
    span = served.server_span()
    took_s = (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9
    assert took_s >= WORK_S - 0.005, "a loop's timers may be some milliseconds early"
    assert served.recorded.line("GET /slow 200")["outcome"] == "good"


def test_metrics_are_served_before_any_other_route_and_leave_no_trace(served: Served) -> None:
    text = served.http.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"}).text
    assert 'http_route="/slow"' in text
    assert served.recorded.spans() == []


def test_a_second_call_is_refused(served: Served) -> None:
    with pytest.raises(ValueError, match="already"):
        instrument(served.app, service_name="again")


# WebSockets: over the wire, and with Starlette's own client, which speaks the messages of ASGI.


def websocket_url(served: Served, room: str) -> str:
    return f"ws://127.0.0.1:{served.address[1]}/ws/{room}"


def ended(served: Served, code: int) -> dict[str, Any]:
    """The line of a connection that was closed with ``code``, once the server has seen it end."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        with contextlib.suppress(AssertionError):
            return served.recorded.line(f"WEBSOCKET /ws/{{room}} {code}")
        time.sleep(0.01)
    raise AssertionError([line["message"] for line in served.recorded.lines()])


@pytest.mark.parametrize(
    ("word", "leave", "code", "outcome"),
    [
        ("hello", "close", 1000, "good"),
        ("hello", "close 4000", 4000, "good"),
        ("hello", "cut off", 1005, "good"),  # what uvicorn says when no code came
        ("break", "wait", 1011, "bad"),
    ],
    ids=["closed in order", "closed with a reason", "cut off", "the application breaks"],
)
def test_over_the_wire_a_websocket_tells_how_it_ended(
    served: Served, word: str, leave: str, code: int, outcome: str
) -> None:
    before = served.recorded.requests("/ws/{room}", 101, "good")
    with contextlib.ExitStack() as stack:
        websocket = stack.enter_context(connect(websocket_url(served, "kitchen")))
        trace_id = websocket.response.headers["x-trace-id"] if websocket.response else ""
        websocket.send(word)
        if leave == "wait":
            with pytest.raises(ConnectionClosedError):
                websocket.recv(timeout=5)
        else:
            assert websocket.recv(timeout=5) == word
        if leave == "cut off":
            websocket.socket.shutdown(socket.SHUT_RDWR)
        elif leave.startswith("close "):
            websocket.close(int(leave.split()[1]))
    line = ended(served, code)
    assert (line["outcome"], line["trace_id"]) == (outcome, trace_id)
    assert served.recorded.requests("/ws/{room}", 101, "good") == before + 1
    connection = served.recorded.span("WEBSOCKET /ws/{room}")
    assert served.recorded.attributes(connection)["websocket.close.code"] == code
    assert (connection.status.code == 2) == (outcome == "bad")


def test_over_the_wire_a_refused_handshake_is_a_request(served: Served) -> None:
    before = served.recorded.requests("/ws/{room}", 403, "good")
    with pytest.raises(InvalidStatus) as refused, connect(websocket_url(served, "closed")):
        pass
    assert refused.value.response.status_code == 403
    assert served.recorded.requests("/ws/{room}", 403, "good") == before + 1


@pytest.fixture
def socketed() -> Iterator[tuple[TestClient, Recorded]]:
    with former_door():
        app = build_starlette()
        recorded = Recorded(instrument(app, service_name="tested"))
        with TestClient(app) as client:
            yield client, recorded


def open_connections(recorded: Recorded) -> float | None:
    return recorded.telemetry.instruments.registry.get_sample_value("websocket_open_connections")


def test_a_websocket_is_a_handshake_and_a_connection(socketed: tuple[TestClient, Recorded]) -> None:
    client, recorded = socketed
    traceparent = f"00-{'a' * 32}-{'b' * 16}-01"
    named = {"traceparent": traceparent, "x-request-id": "kitchen-7"}
    with client.websocket_connect("/ws/kitchen", headers=named) as websocket:
        assert recorded.requests("/ws/{room}", 101, "good") == 1, "counted when it is answered, not when it ends"
        assert open_connections(recorded) == 1
        websocket.send_text("hello")
        assert websocket.receive_text() == "hello"
        time.sleep(0.05)
    assert open_connections(recorded) == 0
    connection, handshake, echo = (recorded.span(n) for n in ("WEBSOCKET /ws/{room}", "GET /ws/{room}", "echo"))
    assert connection.trace_id.hex() == "a" * 32
    assert connection.parent_span_id.hex() == "b" * 16
    assert handshake.parent_span_id == echo.parent_span_id == connection.span_id
    assert recorded.attributes(connection)["websocket.close.code"] == 1000
    assert {recorded.attributes(one)["signalbox.request.id"] for one in (connection, handshake)} == {"kitchen-7"}
    assert connection.end_time_unix_nano - connection.start_time_unix_nano > 0.05e9
    assert handshake.end_time_unix_nano < echo.start_time_unix_nano
    line = recorded.line("WEBSOCKET /ws/{room} 1000")
    assert line["trace_id"] == "a" * 32
    assert line["websocket.connection.duration"] > 0.05
    sample = "websocket_connection_duration_seconds_count"
    labels = {"http_route": "/ws/{room}", "outcome": "good"}
    assert recorded.telemetry.instruments.registry.get_sample_value(sample, labels) == 1


def test_a_websocket_that_breaks_is_bad_and_says_why(socketed: tuple[TestClient, Recorded]) -> None:
    client, recorded = socketed
    with (
        contextlib.suppress(Broken),
        client.websocket_connect("/ws/kitchen") as websocket,
    ):
        websocket.send_text("break")
        websocket.receive_text()
    assert recorded.requests("/ws/{room}", 101, "good") == 1
    connection = recorded.span("WEBSOCKET /ws/{room}")
    assert connection.status.code == 2
    assert recorded.attributes(connection)["error.type"].endswith("Broken")
    line = recorded.line("WEBSOCKET /ws/{room} 1011")
    assert (line["outcome"], line["severity"]) == ("bad", "ERROR")
    assert recorded.line("unhandled exception")["trace_id"] == connection.trace_id.hex()


@pytest.mark.parametrize(
    ("path", "route", "status", "outcome"),
    [
        ("/ws/closed", "/ws/{room}", 403, "good"),
        ("/ws/broken-before", "/ws/{room}", 500, "bad"),
        ("/no-such-socket", "unmatched", 403, "good"),
    ],
)
def test_a_handshake_that_fails_is_a_request_that_failed(
    socketed: tuple[TestClient, Recorded], path: str, route: str, status: int, outcome: str
) -> None:
    client, recorded = socketed
    with pytest.raises((WebSocketDisconnect, Broken)), client.websocket_connect(path):
        pass
    assert recorded.requests(route, status, outcome) == 1
    assert open_connections(recorded) == 0
    assert (recorded.span(f"WEBSOCKET {route}").status.code == 2) == (outcome == "bad")


# Third-party instrumentation knows the OpenTelemetry API only.


def test_spans_of_the_global_tracer_land_in_the_request(served: Served) -> None:
    tracer = trace.get_tracer("third.party")

    @tracer.start_as_current_span("decorated")
    async def work() -> None:
        await asyncio.sleep(0.02)

    async def endpoint(request: Request) -> Response:
        with tracer.start_as_current_span("outer") as outer, tracer.start_span("by hand") as span:
            span.add_link(outer.get_span_context())
        await work()
        return PlainTextResponse("")

    served.app.router.routes.append(Route("/third-party", endpoint))
    served.http.get("/third-party")
    server, decorated = served.server_span(), served.recorded.span("decorated")
    assert {span.trace_id for span in served.recorded.spans()} == {server.trace_id}
    assert decorated.parent_span_id == server.span_id
    assert decorated.end_time_unix_nano - decorated.start_time_unix_nano > 0.015e9
    assert served.recorded.span("by hand").links[0].span_id == served.recorded.span("outer").span_id


def test_limits_of_a_span_hold_and_what_they_drop_is_counted(served: Served) -> None:
    tracer = trace.get_tracer("third.party")
    with (
        contextlib.suppress(Broken),
        tracer.start_span("full") as span,
    ):
        context = span.get_span_context()
        for number in range(130):
            span.set_attribute(f"k{number}", number)
            span.add_event("e", {"n": number})
            span.add_link(context)
        raise Broken("at the end")
    full = served.recorded.span("full")
    assert (len(full.attributes), full.dropped_attributes_count) == (129, 2)  # and error.type
    assert (len(full.events), full.dropped_events_count) == (128, 3)  # the exception too
    assert (len(full.links), full.dropped_links_count) == (128, 2)
    assert full.status.code == 2


def test_the_example_outside_the_service_tells_of_itself() -> None:
    from examples.instrument.shop import build_app

    with former_door():
        app = build_app()
        recorded = Recorded(app.state._signalbox_telemetry)
        with TestClient(app, raise_server_exceptions=False) as client:
            assert client.get("/v1/prices/tea").json() == 3
            assert client.get("/v1/spill").status_code == 500
            client.post("/v1/orders")
    price, order = recorded.span("GET /v1/prices/{article}"), recorded.span("POST /v1/orders")
    assert recorded.span("prices.find").parent_span_id == price.span_id
    assert recorded.span("brew").trace_id == order.trace_id
    assert recorded.line("about to spill")["trace_id"] == recorded.line("unhandled exception")["trace_id"]
    assert recorded.line("shop.order_ready")["shop.table"] == 4
