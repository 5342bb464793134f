"""Heads of any size at the socket of a real server."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from uvicorn.server import ServerState

from service import telemetry
from service.protocol import MALFORMED, MAX_BYTES, MAX_FIELDS, MAX_WAITING, TOO_LARGE, BoundedProtocol

READ = 256 * 1024  # as much as uvloop reads at once
DRIPS = [b"a" * 16_384] * (MAX_BYTES // 16_384 + 2)


async def length(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(len(await request.body())))


pytestmark = pytest.mark.anyio


@pytest.fixture
async def port() -> AsyncIterator[int]:
    app = Starlette(routes=[Route("/length", length, methods=["GET", "POST"])])
    config = uvicorn.Config(app, ws="none", lifespan="off", log_config=None)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: BoundedProtocol(config, ServerState(), {}), "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def talk(port: int, *parts: bytes) -> list[int]:
    """Send the parts, each in a read of its own; the statuses of what was answered until the server hung up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answered = b""
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.02)
        with suppress(TimeoutError):
            while chunk := await asyncio.wait_for(reader.read(READ), 0.5):
                answered += chunk
    except ConnectionError:  # it hung up while we were still saying it
        with suppress(OSError):
            answered += await reader.read(READ)
    finally:
        writer.close()
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+) ", answered)]


def head(fields: int, more: bytes = b"") -> bytes:
    return b"POST /length HTTP/1.1\r\n" + b"X-A: b\r\n" * fields + more + b"\r\n"


async def test_a_head_has_so_many_fields_and_no_more(port: int) -> None:
    assert await talk(port, head(MAX_FIELDS)) == [200]
    assert await talk(port, head(MAX_FIELDS + 1)) == [431]
    assert await talk(port, head(2), head(2), head(MAX_FIELDS + 1)) == [200, 200, 431]
    # Whoever is still talking when the server hangs up may lose its last word.
    assert await talk(port, head(20_000)) in ([431], [])


async def test_a_head_without_an_end_is_given_up(port: int) -> None:
    assert await talk(port, b"GET /length HTTP/1.1\r\nX-Long: ", *DRIPS) == [431]
    assert await talk(port, b"GET /", *DRIPS) == [431]
    assert await talk(port, *[b"\r\n" * 8_192] * len(DRIPS)) == [431]


async def test_a_trailer_or_a_chunk_without_an_end_is_given_up(port: int) -> None:
    chunked = head(1, b"Transfer-Encoding: chunked\r\n")
    assert 431 in await talk(port, chunked + b"0\r\nX-Trailer: ", *DRIPS)
    assert 431 in await talk(port, chunked + b"1;", *DRIPS)
    assert await talk(port, chunked + b"1;" + DRIPS[0] + b"\r\na\r\n0\r\nX-Trailer: b\r\n\r\n", head(1)) == [200, 200]


async def test_bodies_are_no_heads(port: int) -> None:
    body = b" " * (3 * MAX_BYTES)
    sized = head(1, b"Content-Length: %d\r\n" % len(body))
    assert await talk(port, sized, body, head(1)) == [200, 200]
    # Where the end of a body and the beginning of a head come in one read, only the head counts.
    both = body[MAX_BYTES:] + head(1)[:-4]
    assert await talk(port, sized, body[:MAX_BYTES], both, head(1)[-4:]) == [200, 200]


async def test_only_so_many_requests_wait_in_line_on_a_connection(port: int) -> None:
    assert await talk(port, head(1) * MAX_WAITING) == [200] * MAX_WAITING
    statuses = await talk(port, head(1) * 5_000)
    assert statuses[-1:] in ([400], [])  # what it was answering when it hung up is lost
    assert len(statuses) <= MAX_WAITING + 2


async def test_what_is_refused_here_is_counted_among_the_problems(port: int) -> None:
    def counted(kind: str) -> float:
        registry = telemetry.telemetry.current().instruments.registry
        return registry.get_sample_value("problems_total", {"kind": kind, "reason": ""}) or 0.0

    before = [counted(kind) for kind in (MALFORMED, TOO_LARGE)]
    await talk(port, b"hello\r\n\r\n")
    await talk(port, head(MAX_FIELDS + 1))
    await talk(port, head(1))
    assert [counted(kind) for kind in (MALFORMED, TOO_LARGE)] == [before[0] + 1, before[1] + 1]


async def test_what_is_no_request_is_told_so_as_ever(port: int) -> None:
    assert await talk(port, b"hello\r\n\r\n") == [400]
    assert await talk(port, head(10, b": no name\r\n")) == [400]
