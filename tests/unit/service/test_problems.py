"""Every error is a problem document with the trace id, and says nothing that the caller must not know."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

import httpx2
import pytest
from fastapi import FastAPI, HTTPException, Query

from service.catalog.model import ProductNotFound
from service.data.engines import DatabaseUnavailable, PoolExhausted
from service.edge.body import BodyLimitMiddleware
from service.edge.pagination import InvalidCursor
from service.errors import ServiceError, install_error_handlers, problem_responses
from service.orders.model import OutOfStock, PaymentRefused
from service.telemetry.testing import Recorded

pytestmark = pytest.mark.anyio


FORESEEN = {
    "not-found": ProductNotFound("there is no product 7"),
    "unprocessable": InvalidCursor("the cursor is not valid"),
    "conflict": OutOfStock("product 7 is out of stock"),
    "refused": PaymentRefused("the payment was refused"),
    "unavailable": DatabaseUnavailable("the database cannot be reached"),
    "crowded": PoolExhausted("no connection to the database was free in time"),
}


@pytest.fixture
async def client(recorded: Recorded) -> AsyncIterator[httpx2.AsyncClient]:
    app = FastAPI()
    install_error_handlers(app)

    @app.get("/foreseen/{name}", responses=problem_responses(ProductNotFound, OutOfStock))
    async def foreseen(name: str) -> None:
        raise FORESEEN[name]

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError("password=hunter2")

    @app.get("/teapot")
    async def teapot() -> None:
        raise HTTPException(418, "short and stout", headers={"X-Kind": "pot"})

    @app.get("/validated")
    async def validated(count: Annotated[int, Query(ge=1)]) -> int:
        return count

    recorded.telemetry.instrument_app(app)
    transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://service") as client:
        yield client


@pytest.mark.parametrize(
    ("name", "status", "kind"),
    [
        ("not-found", 404, "product-not-found"),
        ("unprocessable", 422, "invalid-cursor"),
        ("conflict", 409, "out-of-stock"),
        ("refused", 402, "payment-refused"),
        ("unavailable", 503, "database-unavailable"),
        ("crowded", 503, "database-unavailable"),
    ],
)
async def test_a_foreseen_error_keeps_its_words_and_gets_its_status(
    client: httpx2.AsyncClient, name: str, status: int, kind: str
) -> None:
    answer = await client.get(f"/foreseen/{name}")
    problem = answer.json()
    assert answer.status_code == problem["status"] == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["type"] == f"urn:signalbox:problem:{kind}"
    assert problem["detail"] == str(FORESEEN[name])
    assert problem["instance"] == f"/foreseen/{name}"
    assert problem["trace_id"] == answer.headers["x-trace-id"]
    assert "errors" not in problem


@pytest.mark.parametrize(
    ("path", "line", "kind", "reason"),
    [
        ("/foreseen/unavailable", "GET /foreseen/{name} 503", "database-unavailable", "busy"),
        ("/foreseen/crowded", "GET /foreseen/{name} 503", "database-unavailable", "pool-exhausted"),
        ("/foreseen/not-found", "GET /foreseen/{name} 404", "product-not-found", ""),
        ("/validated?count=0", "GET /validated 422", "validation", ""),
        ("/broken", "GET /broken 500", "internal", ""),
        ("/nowhere", "GET unmatched 404", "not-found", ""),
    ],
)
async def test_which_problem_it_was_is_counted_and_in_the_span_and_the_line(
    client: httpx2.AsyncClient, recorded: Recorded, path: str, line: str, kind: str, reason: str
) -> None:
    def counted() -> float | None:
        labels = {"kind": kind, "reason": reason}
        return recorded.telemetry.instruments.registry.get_sample_value("problems_total", labels)

    assert counted() == (None if kind == "not-found" else 0.0), "what is foreseen exists at zero"
    await client.get(path)
    assert counted() == 1.0
    told = {"signalbox.problem.kind": kind} | ({"signalbox.problem.reason": reason} if reason else {})
    span = recorded.attributes(next(span for span in recorded.spans() if not span.parent_span_id))
    for said in (recorded.line(line), span):
        assert {key: value for key, value in said.items() if key.startswith("signalbox.problem.")} == told


async def test_strangers_cannot_make_new_series(client: httpx2.AsyncClient, recorded: Recorded) -> None:
    async def asked() -> int:
        for method in ("GET", "PUT", "BREW", "OPTIONS"):
            for path in ("/nowhere", "/validated", "/validated?count=-1", "/teapot"):
                await client.request(method, f"{path}{'&' if '?' in path else '?'}{len(seen)}={method}")
        return recorded.metrics_text().count("\nproblems_total{")

    seen: list[int] = []
    for _ in range(3):
        seen.append(await asked())
    assert seen[0] == seen[-1]


async def test_who_is_told_to_come_back_is_told_when(client: httpx2.AsyncClient) -> None:
    assert (await client.get("/foreseen/unavailable")).headers["retry-after"] == "1"


async def test_an_unforeseen_error_keeps_its_words_to_itself(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/broken")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "hunter2" not in answer.text
    assert answer.json()["trace_id"] == answer.headers["x-trace-id"]


async def test_an_http_exception_keeps_its_status_words_and_headers(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/teapot")
    assert (answer.status_code, answer.json()["detail"], answer.headers["x-kind"]) == (418, "short and stout", "pot")
    assert answer.json()["type"] == "urn:signalbox:problem:im-a-teapot"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nowhere", 404), ("PUT", "/broken", 405), ("GET", "/no%20where/%C3%BC%22", 404)],
)
async def test_what_the_router_refuses_is_a_problem_too(
    client: httpx2.AsyncClient, method: str, path: str, status: int
) -> None:
    answer = await client.request(method, path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert answer.json()["instance"] == path


async def test_a_failed_validation_names_the_field_and_does_not_repeat_the_value(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/validated", params={"count": "hunter2"})
    assert answer.status_code == 422
    assert [error["location"] for error in answer.json()["errors"]] == ["query.count"]
    assert "hunter2" not in answer.text


async def test_the_openapi_document_describes_the_problem(client: httpx2.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    responses = document["paths"]["/foreseen/{name}"]["get"]["responses"]
    assert {"404", "409", "422"} <= set(responses)
    reference = responses["404"]["content"]["application/problem+json"]["schema"]["$ref"]
    schema = document["components"]["schemas"][reference.rsplit("/", 1)[1]]
    assert {"type", "title", "status", "detail", "instance", "trace_id"} <= set(schema["properties"])
    assert schema["properties"]["errors"]["anyOf"][0]["items"]["$ref"].endswith("/FieldError")
    assert "FieldError" in document["components"]["schemas"]


def test_every_kind_of_error_has_a_name_of_its_own() -> None:
    kinds: list[str] = []
    waiting = [ServiceError]
    while waiting:
        for error in waiting.pop().__subclasses__():
            if DatabaseUnavailable not in error.__bases__:  # callers need not tell why a database is unavailable
                kinds.append(error.kind)
            waiting.append(error)
    assert len(kinds) == len(set(kinds)), sorted(kinds)


async def test_an_answer_that_is_not_in_its_form_is_ours_to_mend_and_is_not_sent() -> None:
    """Responses are validated as well as requests."""
    app = FastAPI()
    install_error_handlers(app)

    @app.get("/wrong", response_model=dict[str, int])
    async def wrong() -> dict[str, str]:
        return {"password": "hunter2"}

    transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://service") as client:
        answer = await client.get("/wrong")
    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
    assert "hunter2" not in answer.text


@pytest.mark.parametrize("announced", [True, False])
async def test_what_is_too_large_is_refused_whether_it_says_so_or_not(announced: bool) -> None:
    app = FastAPI()
    install_error_handlers(app)
    app.add_middleware(BodyLimitMiddleware, most_bytes=100)

    @app.post("/thing")
    async def thing(body: dict[str, str]) -> dict[str, str]:
        return body

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield b" " * 10

    transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://service") as client:
        kind = {"content-type": "application/json"}
        assert (await client.post("/thing", json={"a": "b"})).status_code == 200
        answer = await client.post("/thing", content=b" " * 101 if announced else pieces(), headers=kind)
    assert (answer.status_code, answer.headers["content-type"]) == (413, "application/problem+json")
    assert answer.json()["type"] == "urn:signalbox:problem:request-entity-too-large", "whatever Python calls a 413"
