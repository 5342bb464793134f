"""The traffic client against servers that behave, and servers that do not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from incidents.wire import NoAnswer, TrafficClient

pytestmark = pytest.mark.anyio
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Trace-Id: abc\r\n\r\n{}"


@asynccontextmanager
async def serving(*answers: bytes, hang: bool = False) -> AsyncIterator[tuple[TrafficClient, list[bytes]]]:
    """A client of a server that gives these answers in turn, the last for ever; requests are written down."""
    asked: list[bytes] = []
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                asked.append(b"connection %d: " % connections + head)
                if hang:
                    await asyncio.sleep(60)
                answer = answers[min(len(asked), len(answers)) - 1]
                writer.write(answer)
                await writer.drain()
                if not answer or b"Connection: close" in answer:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = TrafficClient(f"http://127.0.0.1:{port}/base", user_agent="test", max_connections=2, timeout_s=0.5)
    yield client, asked
    await client.close()
    server.close()


async def test_one_connection_serves_one_request_after_another() -> None:
    async with serving(OK) as (client, asked):
        first = await client.send("GET", "/a")
        await client.send("POST", "/b", b"{}")
    assert (first.status, first.body, first.trace_id) == (200, b"{}", "abc")
    assert [line.split(b"\r\n")[0] for line in asked] == [
        b"connection 1: GET /base/a HTTP/1.1",
        b"connection 1: POST /base/b HTTP/1.1",
    ]
    assert b"Content-Length: 2" in asked[1]


async def test_chunks_and_interim_answers_are_understood() -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\n"
    chunked = interim + b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    async with serving(chunked) as (client, _):
        answer = await client.send("GET", "/")
    assert (answer.status, answer.body) == (404, b"abc")


async def test_a_connection_that_the_server_closes_is_not_used_again() -> None:
    closing = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)
    async with serving(closing, OK) as (client, asked):
        await client.send("GET", "/a")
        await client.send("GET", "/b")
    assert asked[1].startswith(b"connection 2")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "disconnect"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\nhalf", "disconnect"),
        (b"nonsense\r\n\r\n", "protocol"),
    ],
)
async def test_half_an_answer_is_no_answer_and_nothing_is_sent_twice(answer: bytes, reason: str) -> None:
    async with serving(answer) as (client, asked):
        with pytest.raises(NoAnswer) as lost:
            await client.send("GET", "/")
    assert lost.value.reason == reason
    assert len(asked) == 1


async def test_silence_ends_at_the_time_limit_and_the_waiting_count_too() -> None:
    async with serving(hang=True) as (client, asked):
        results = await asyncio.gather(*(client.send("GET", "/") for _ in range(3)), return_exceptions=True)
    assert [getattr(result, "reason", None) for result in results] == ["timeout"] * 3
    assert len(asked) == 2, "no more than max_connections at a time"


async def test_a_closed_port_is_told_apart() -> None:
    client = TrafficClient("http://127.0.0.1:9", user_agent="test", max_connections=1, timeout_s=1)
    with pytest.raises(NoAnswer) as lost:
        await client.send("GET", "/")
    assert lost.value.reason == "connect"


@pytest.mark.parametrize("url", ["https://127.0.0.1", "127.0.0.1:80", "ftp://x"])
def test_only_http_addresses_are_taken(url: str) -> None:
    build: Callable[[], TrafficClient] = lambda: TrafficClient(url, user_agent="t", max_connections=1, timeout_s=1)  # noqa: E731
    with pytest.raises(ValueError, match="is not an http:// address"):
        build()
