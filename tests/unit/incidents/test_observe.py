"""Observation: numbers, or the reason why there is none."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from stand_in import TRACE_ID, StandIn, trace_document

from incidents.endpoints import EndpointError, Endpoints
from incidents.faults import FaultError, build_switches, observe_active_faults
from incidents.observe import BackendError, Backends, holds_spans, poll
from incidents.scenario import (
    HttpCheck,
    LogCheck,
    PromqlCheck,
    ServiceFault,
    SpanMatch,
    TraceCheck,
    TraceQuery,
    parse_threshold,
)
from incidents.trace import parse_trace, services

pytestmark = pytest.mark.anyio
SOME = parse_threshold(">= 1")


@pytest.fixture
async def backends(system: StandIn) -> AsyncIterator[Backends]:
    async with Backends(Endpoints.parse(system.urls), clock=20) as opened:
        yield opened


def promql(query: str) -> PromqlCheck:
    return PromqlCheck(kind="promql", name="n", query=query, wanted=SOME)


def http(url: str) -> HttpCheck:
    return HttpCheck(kind="http", name="n", url=url, wanted=SOME)


LOGS = LogCheck(kind="logs", name="n", query='{service_name="payments"}', wanted=SOME)
TRACES = TraceCheck(kind="traces", name="n", query=TraceQuery(service="api"), wanted=SOME)


async def test_each_kind_of_check_gives_a_number(system: StandIn, backends: Backends) -> None:
    system.faults["charge-errors"] = {}
    observed = [
        (await backends.measure(check, time.time() - 5)).value
        for check in (promql("ratio"), http("{gateway}/v1/products"), LOGS, TRACES)
    ]
    assert observed == [0.3, 200.0, 2.0, 1.0]


async def test_no_series_is_nothing_but_not_blindness(backends: Backends) -> None:
    reading = await backends.measure(promql("absent"), 0.0)
    assert (reading.value, reading.blind) == (None, False)
    assert str(reading) == "nothing (the query selects no series)"


@pytest.mark.parametrize(
    ("check", "down", "words"),
    [
        (promql("bad syntax"), None, "parse error"),
        (promql("ratio"), "prometheus", "prometheus answered 503"),
        (LOGS, "loki", "loki answered 503"),
        (TRACES, "jaeger", "jaeger answered 503"),
        (http("{nowhere}/x"), None, "no address of 'nowhere'"),
        (http("http://127.0.0.1:9/"), None, "no answer: ConnectError"),
    ],
)
async def test_what_could_not_be_looked_at_is_blindness_with_its_reason(
    system: StandIn, backends: Backends, check: Any, down: str | None, words: str
) -> None:
    if down:
        system.down.add(down)
    reading = await backends.measure(check, 0.0)
    assert reading.value is None
    assert reading.blind
    assert words in str(reading)


async def test_the_window_of_a_query_follows_the_clock(system: StandIn) -> None:
    for clock, expected in ((1, "rate(x[300s])"), (20, "rate(x[15s])"), (100, "rate(x[10s])")):
        async with Backends(Endpoints.parse(system.urls), clock) as backends:
            assert backends.at_window("rate(x[$window])") == expected


async def test_ranges_hold_no_nan(backends: Backends) -> None:
    (series,) = await backends.query_range("ratio", 1000.0, 1010.0)
    assert [value for _, value in series.points] == [0.0, 0.1, 0.2, 0.3, 0.4, None]


async def test_a_trace_that_is_not_there_is_empty_and_one_that_is_comes_in_order(backends: Backends) -> None:
    assert await backends.trace("0" * 32) == []
    assert services(await backends.trace(TRACE_ID)) == ["gateway", "api", "payments"]


async def test_a_failing_backend_is_named(system: StandIn, backends: Backends) -> None:
    system.down.add("pager")
    with pytest.raises(BackendError, match="pager answered 503"):
        await backends.pages(0.0)


@pytest.mark.parametrize(
    ("wanted", "holds"),
    [
        (SpanMatch(service="payments", error=True), True),
        (SpanMatch(service="gateway", error=True), False),
        (SpanMatch(kind="client", at_least=2), False),
        (SpanMatch(error=True, at_least=3), True),
        (SpanMatch(min_duration_ms=8), True),
        (SpanMatch(min_duration_ms=80), False),
        (SpanMatch(tags={"span.kind": "client"}, operation="POST"), True),
        (SpanMatch(operation="DELETE"), False),
    ],
)
def test_traces_are_chosen_by_the_spans_they_hold(wanted: SpanMatch, holds: bool) -> None:
    assert holds_spans(wanted, parse_trace(trace_document())) is holds


def test_spans_come_parents_first_with_their_depth() -> None:
    spans = parse_trace(trace_document())
    assert [(span.span_id, span.depth) for span in spans] == [("a1", 0), ("b2", 1), ("c2", 2), ("c3", 3)]
    assert [span.failed for span in spans] == [False, True, True, True]


def test_a_trace_with_lost_parents_or_a_circle_keeps_every_span() -> None:
    document = trace_document()
    document["spans"][1]["references"] = [{"refType": "CHILD_OF", "spanID": "c3"}]  # a1 under its own descendant
    document["spans"][0]["processID"] = "unheard of"
    spans = parse_trace(document)
    assert sorted(span.span_id for span in spans) == ["a1", "b2", "c2", "c3"]
    assert "unknown" in services(spans)
    assert parse_trace({"traceID": "x", "spans": None, "processes": None}) == []


async def test_polling_reads_until_enough_and_returns_the_last_reading_otherwise() -> None:
    numbers = iter(range(100))

    async def read() -> int:
        return next(numbers)

    assert await poll(read, lambda number: number >= 3, deadline_s=5, every_s=0.001) == (True, 3)
    came, last = await poll(read, lambda number: number < 0, deadline_s=0.05, every_s=0.01)
    assert not came
    assert last > 4
    assert await poll(read, lambda number: True, deadline_s=-1) == (True, last + 1), "one look is always taken"


# Addresses and faults.


def test_a_job_stands_for_all_its_replicas() -> None:
    endpoints = Endpoints.parse(
        {
            name: f"http://{name}/"
            for name in ("gateway", "prometheus", "loki", "jaeger", "pager", "api-1", "api-12", "api-x", "apis")
        }
    )
    assert list(endpoints.replicas("api")) == ["api-1", "api-12"]
    assert endpoints.url("gateway") == "http://gateway"
    with pytest.raises(EndpointError, match="no process of 'worker'"):
        endpoints.replicas("worker")
    with pytest.raises(EndpointError, match="no address of 'grafana'"):
        endpoints.url("grafana")


def fault(target: str = "payments", name: str = "charge-errors") -> ServiceFault:
    return ServiceFault(kind="service", target=target, name=name, parameters={"percent": 30}, duration_s=5.0)


async def test_a_switch_sets_and_clears_as_often_as_one_likes(system: StandIn, backends: Backends) -> None:
    (switch,) = build_switches([fault()], backends.endpoints, backends.client, 1)
    await switch.check()
    await switch.set()
    assert system.faults == {"charge-errors": {"percent": 30, "for_s": 5.0}}
    assert await observe_active_faults(backends.endpoints, backends.client) == ["charge-errors at payments"]
    await switch.clear()
    await switch.clear()
    assert system.faults == {}


async def test_clearing_goes_on_with_the_other_replicas_when_one_is_gone(system: StandIn, backends: Backends) -> None:
    (switch,) = build_switches([fault("api")], backends.endpoints, backends.client, 1)
    await switch.set()
    system.down.add("api-1")
    with pytest.raises(FaultError, match="api-1 answered 503"):
        await switch.clear()
    assert "clear charge-errors at api-2" in system.history


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (fault(name="charge-eaters"), "payments offers no fault 'charge-eaters'. Known: charge-errors, charge-latency"),
        (fault(target="moon"), "no process of 'moon'"),
    ],
)
async def test_a_fault_that_cannot_be_set_is_refused_beforehand(
    backends: Backends, wanted: ServiceFault, words: str
) -> None:
    async def prepare() -> None:
        (switch,) = build_switches([wanted], backends.endpoints, backends.client, 1)
        await switch.check()

    with pytest.raises(FaultError, match=re.escape(words)):
        await prepare()
