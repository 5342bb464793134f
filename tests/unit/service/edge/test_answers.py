"""What is read is marked, and not sent twice to who has it; what is noted for an answer is on every answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import httpx2
import pytest
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import StreamingResponse

from service.edge.answers import AnswerMiddleware, note_headers
from service.edge.versioning import Version
from service.errors import install_error_handlers

pytestmark = pytest.mark.anyio

OLD = Version(
    "v1", deprecated=datetime(2026, 1, 1, tzinfo=UTC), sunset=datetime(2027, 1, 1, tzinfo=UTC), successor="v2"
)


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    app = FastAPI()
    install_error_handlers(app)
    app.add_middleware(AnswerMiddleware, by_prefix={"v1": OLD.headers()})
    things = {"name": "desk"}

    @app.get("/v1/thing")
    @app.get("/v2/thing")
    async def thing() -> dict[str, str]:
        return things

    @app.put("/v2/thing")
    async def put(name: str) -> dict[str, str]:
        things["name"] = name
        return things

    @app.get("/v2/marked")
    async def marked(response: Response) -> str:
        response.headers["ETag"] = '"7"'
        return "seven"

    @app.get("/v2/stream")
    async def stream() -> StreamingResponse:
        return StreamingResponse(iter([b"one", b"two"]))

    @app.get("/v2/noted")
    async def noted(request: Request) -> str:
        note_headers(request.scope, [(b"x-noted", b"yes")])
        raise HTTPException(409)

    transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://service") as client:
        yield client


async def test_what_is_known_already_is_not_sent_again_until_it_changes(client: httpx2.AsyncClient) -> None:
    tag = (await client.get("/v2/thing")).headers["etag"]
    for known in (tag, f"W/{tag}", f'"else", {tag}', "*"):
        again = await client.get("/v2/thing", headers={"if-none-match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag), known
        assert "content-length" not in again.headers
    assert (await client.get("/v2/thing", headers={"if-none-match": '"else"'})).status_code == 200
    await client.put("/v2/thing", params={"name": "lamp"})
    changed = await client.get("/v2/thing", headers={"if-none-match": tag})
    assert (changed.status_code, changed.json()) == (200, {"name": "lamp"})
    assert changed.headers["etag"] != tag


async def test_a_route_that_knows_better_marks_its_answer_itself(client: httpx2.AsyncClient) -> None:
    assert (await client.get("/v2/marked")).headers["etag"] == '"7"'
    assert (await client.get("/v2/marked", headers={"if-none-match": '"7"'})).status_code == 304


async def test_a_stream_goes_through_whole_and_unmarked(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/v2/stream")
    assert answer.content == b"onetwo"
    assert "etag" not in answer.headers


@pytest.mark.parametrize("path", ["/v2/noted", "/nowhere"])
async def test_errors_are_not_marked(client: httpx2.AsyncClient, path: str) -> None:
    assert "etag" not in (await client.get(path)).headers


async def test_what_was_noted_is_on_an_error_too(client: httpx2.AsyncClient) -> None:
    assert (await client.get("/v2/noted")).headers["x-noted"] == "yes"


async def test_the_version_that_ends_says_when_on_every_answer(client: httpx2.AsyncClient) -> None:
    for path in ("/v1/thing", "/v1/nothing"):
        headers = (await client.get(path)).headers
        assert headers["deprecation"] == "@1767225600"
        assert headers["sunset"] == "Fri, 01 Jan 2027 00:00:00 GMT"
        assert headers["link"] == '</v2>; rel="successor-version"'
    assert "deprecation" not in (await client.get("/v2/thing")).headers
