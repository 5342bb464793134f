"""The way an SRE clicks: spike → exemplar → trace → its logs → back to the trace."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.acceptance.backends import Backends, eventually
from tests.acceptance.conftest import sign_in

ORDERS = 'http_server_request_duration_seconds_bucket{job="api",http_route="/v1/orders",http_request_method="POST"}'


def place_orders(user: httpx.Client, count: int = 5) -> set[str]:
    placed = set()
    for number in range(count):
        answer = user.post("/v1/orders", json={"user_id": 11, "items": [{"product_id": 100 + number, "quantity": 1}]})
        assert answer.status_code == 201, answer.text
        placed.add(answer.headers["x-trace-id"])
    return placed


@pytest.fixture(scope="module")
def exemplar_trace(backends: Backends) -> dict[str, Any]:
    """A trace found as a person finds it: by an exemplar of the orders histogram."""
    with sign_in(backends.urls) as user:
        placed = place_orders(user)

    def exemplar() -> str | None:
        found = {e["labels"]["trace_id"] for e in backends.exemplars(ORDERS)}
        return next(iter(placed & found), None)

    trace_id = eventually(exemplar, "an exemplar of one of our orders")

    def whole() -> dict[str, Any] | None:
        trace = backends.trace(trace_id)
        return trace if trace and {"gateway", "api", "payments", "worker"} <= backends.services_of(trace) else None

    return eventually(whole, f"trace {trace_id} with all four services", within_s=20)


def test_the_trace_spans_gateway_api_payments_and_the_worker(
    backends: Backends, exemplar_trace: dict[str, Any]
) -> None:
    by_id = {span["spanID"]: span for span in exemplar_trace["spans"]}
    service = {span["spanID"]: exemplar_trace["processes"][span["processID"]]["serviceName"] for span in by_id.values()}

    def ancestors(span_id: str) -> list[str]:
        path = [service[span_id]]
        while by_id[span_id]["references"]:
            span_id = by_id[span_id]["references"][0]["spanID"]
            path.append(service[span_id])
        return path

    for name, chain in (("payments", ["payments", "api", "gateway"]), ("worker", ["worker", "api", "gateway"])):
        entry = next(
            span
            for span in backends.spans(exemplar_trace, name)
            if span["attributes"]["span.kind"] in ("server", "consumer")
        )
        path = ancestors(entry["spanID"])
        assert [p for i, p in enumerate(path) if i == 0 or path[i - 1] != p] == chain


def test_it_has_the_sql_with_placeholders_only(backends: Backends, exemplar_trace: dict[str, Any]) -> None:
    statements = [
        span["attributes"]["db.query.text"]
        for span in backends.spans(exemplar_trace, "api")
        if span["attributes"].get("db.system.name") == "postgresql"
    ]
    assert any("insert into orders" in text.lower() for text in statements), statements
    assert not any("4711" in text for text in statements)


def test_a_cached_read_has_its_cache_span(backends: Backends, user: httpx.Client) -> None:
    user.get("/v1/products/321")
    trace_id = user.get("/v1/products/321").headers["x-trace-id"]
    trace = eventually(lambda: backends.trace(trace_id), f"trace {trace_id}")
    eventually(
        lambda: [
            s
            for s in backends.spans(backends.trace(trace_id) or trace, "api")
            if s["attributes"].get("db.system.name") == "redis"
        ],
        "a cache span",
    )


def test_its_logs_are_found_by_trace_id_and_lead_back(backends: Backends, exemplar_trace: dict[str, Any]) -> None:
    trace_id = exemplar_trace["traceID"]

    def from_every_service() -> list[dict[str, str]] | None:
        found = backends.logs(f'{{service_namespace="signalbox"}} | trace_id="{trace_id}"')
        return found if {"api", "payments", "worker"} <= {line["service_name"] for line in found} else None

    lines = eventually(from_every_service, f"log lines of {trace_id} from every service")
    back = backends.trace(lines[0]["trace_id"])
    assert back is not None
    span_ids = {span["spanID"] for span in back["spans"]}
    assert {line["span_id"] for line in lines if "span_id" in line} <= span_ids


def test_an_exception_handlers_log_carries_the_trace(backends: Backends, user: httpx.Client) -> None:
    """An unhandled exception, provoked by a fault, is logged with the stack and the trace of its request."""
    fault = f"{backends.urls['payments']}/internal/faults/charge-errors"
    assert httpx.put(fault, json={"percent": 100, "status": 500}).status_code == 200
    try:
        answer = user.post("/v1/orders", json={"user_id": 1, "items": [{"product_id": 50, "quantity": 1}]})
    finally:
        httpx.delete(fault)
    assert answer.status_code == 503
    assert answer.json()["trace_id"] == answer.headers["x-trace-id"]
    eventually(
        lambda: backends.logs(
            f'{{service_name="api"}} | trace_id="{answer.headers["x-trace-id"]}" | severity_text=~"WARN.*|ERROR"'
        ),
        "the handler's log line",
    )
    trace = eventually(lambda: backends.trace(answer.headers["x-trace-id"]), "the failed order's trace")
    assert any(span["attributes"].get("error") for span in backends.spans(trace, "api"))
