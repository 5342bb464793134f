"""The signal matrix: each service speaks in each signal, within two seconds of what it tells.

Asked of the stack of this checkout, or of what was deployed somewhere (`tests.acceptance.deployed`).
"""

from __future__ import annotations

import os
import time

import httpx
import pytest

from tests.acceptance.backends import Backends, eventually
from tests.acceptance.conftest import sign_in
from tests.acceptance.deployed import order_of

# service → (series that only its traffic makes, selector of its spans, selector of its request lines)
METRICS = {
    "gateway": 'caddy_http_request_duration_seconds_count{job="gateway"}',
    "api": 'http_server_request_duration_seconds_count{job="api",http_route="/v1/orders"}',
    "payments": 'http_server_request_duration_seconds_count{job="payments",http_route="/v1/charges"}',
    "worker": 'messaging_process_duration_seconds_count{job="worker"}',
}
SERVICES = tuple(METRICS)
OTHERS = pytest.mark.local_only(reason="how others' charts name what they scrape is their business")


@pytest.fixture(scope="module")
def order_trace(backends: Backends) -> str:
    """Trace id of a freshly placed order, which touches every service."""
    with sign_in(backends.urls) as user:
        answer = user.post("/v1/orders", json=order_of(4711))
    assert answer.status_code == 201, answer.text
    return answer.headers["x-trace-id"]


@pytest.mark.parametrize("service", SERVICES)
def test_metrics(backends: Backends, order_trace: str, service: str) -> None:
    assert eventually(lambda: backends.value(f"sum({METRICS[service]})"), f"metrics of {service}")


@pytest.mark.parametrize("service", SERVICES)
def test_traces(backends: Backends, order_trace: str, service: str) -> None:
    def seen() -> bool:
        trace = backends.trace(order_trace)
        return trace is not None and service in backends.services_of(trace)

    eventually(seen, f"span of {service} in {order_trace}")


@pytest.mark.parametrize("service", SERVICES)
def test_logs(backends: Backends, order_trace: str, service: str) -> None:
    query = f'{{service_name="{service}"}} | trace_id="{order_trace}"'
    lines = eventually(lambda: backends.logs(query), f"log lines of {service} for {order_trace}")
    assert all(line["trace_id"] == order_trace for line in lines)


def test_one_name_finds_a_request_in_the_lines_of_every_service_that_it_reached(backends: Backends) -> None:
    """The gateway gives it; it travels with the call to payments and with the job to the worker."""
    with sign_in(backends.urls) as user:
        answer = user.post("/v1/orders", json=order_of(4712))
    [name] = answer.headers.get_list("x-request-id")
    assert answer.status_code == 201, answer.text
    for service in SERVICES:
        query = f'{{service_name="{service}"}} | request_id="{name}"'
        lines = eventually(lambda query=query: backends.logs(query), f"log lines of {service} for {name}")
        assert {line["trace_id"] for line in lines} == {answer.headers["x-trace-id"]}
    spans = eventually(lambda: backends.trace(answer.headers["x-trace-id"]), "the trace")
    assert name in str(spans)


@pytest.mark.parametrize(
    "job",
    [*SERVICES, "collector", *(pytest.param(name, marks=OTHERS) for name in ("loki", "jaeger", "alertmanager"))],
)
def test_every_part_is_scraped(backends: Backends, job: str) -> None:
    eventually(lambda: backends.value(f'min(up{{job="{job}"}}) == 1'), f"scrape of {job}")


@pytest.mark.parametrize(
    "series",
    [
        "event_loop_lag_seconds_count",
        "python_gc_pause_seconds_count",
        "db_client_connection_count",
        *(
            f'db_client_connection_wait_time_seconds_count{{db_client_connection_pool_name="{pool}"}}'
            for pool in ("primary", "replica", "cache", "quotas")
        ),
        'http_client_request_time_in_queue_seconds_count{peer_service="payments"}',
        "cache_requests_total",
        "messaging_queue_depth",
        "messaging_queue_oldest_age_seconds",
        "http_server_active_requests",
        "process_resident_memory_bytes",
        "signalbox_build_info",
        "traces_span_metrics_calls_total",
    ],
)
def test_runtime_signals_are_there(backends: Backends, order_trace: str, series: str) -> None:
    eventually(lambda: backends.query(series), series)


@pytest.mark.deployed_only
@pytest.mark.parametrize("job", ["api", "worker", "payments"])
def test_the_version_that_was_deployed_is_the_one_that_answers(backends: Backends, job: str) -> None:
    version = os.environ["SMOKE_VERSION"]

    def running() -> dict[str, float]:
        found = backends.query(f'count by (service_version) (signalbox_build_info{{job="{job}"}})')
        return {sample["metric"]["service_version"]: float(sample["value"][1]) for sample in found}

    def alone() -> bool:
        seen = running()
        assert set(seen) == {version}, seen
        return True

    eventually(alone, f"{job} at {version} and no other")


@pytest.mark.local_only(reason="the promise is about the pipeline, without the network to somewhere else")
def test_a_request_is_visible_in_every_backend_within_two_seconds(backends: Backends, user: httpx.Client) -> None:
    """Promise 1: from the answer to the data in Loki and Jaeger; the keep policy's own wait (1 s) included."""
    delays = []
    for _ in range(3):
        trace_id = user.get("/v1/products/99").headers["x-trace-id"]
        start = time.monotonic()
        eventually(
            lambda trace_id=trace_id: (
                (trace := backends.trace(trace_id)) and {"gateway", "api"} <= backends.services_of(trace)
            ),
            f"trace {trace_id}",
            every_s=0.05,
        )
        eventually(
            lambda trace_id=trace_id: backends.logs(f'{{service_name="api"}} | trace_id="{trace_id}"'),
            f"logs of {trace_id}",
            every_s=0.05,
        )
        delays.append(time.monotonic() - start)
    assert min(delays) < 2.0, f"took {delays}"


def test_every_request_line_of_the_services_carries_its_trace(backends: Backends, user: httpx.Client) -> None:
    """Promise 15, first half."""
    for number in range(20):
        user.get(f"/v1/products/{number + 1}")
    eventually(lambda: backends.logs('{service_name="api"} | logger="http.server"', 60), "request lines")
    assert backends.logs('{service_name=~"api|payments"} | logger="http.server" | trace_id=""') == []
