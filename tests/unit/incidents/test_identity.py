"""A token is asked for, and its absence is no error, whatever the issuer answers."""

from __future__ import annotations

import asyncio

import pytest

from incidents.identity import fetch_token

pytestmark = pytest.mark.anyio


async def fetched_from(status: str, body: bytes) -> tuple[str | None, bytes]:
    """What is fetched from an issuer that answers so, and the request's first line."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[0])
        writer.write(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status.encode(), len(body), body))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        return await fetch_token(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"), asked[0]
    finally:
        server.close()


async def test_the_token_of_the_answer() -> None:
    token = await fetched_from("200 OK", b'{"access_token": "a.b.c"}')
    assert token == ("a.b.c", b"POST /development/service-token HTTP/1.1")


@pytest.mark.parametrize(
    ("status", "body"),
    [("500 Oops", b'{"access_token": "a"}'), ("200 OK", b"<html>"), ("200 OK", b"{}"), ("200 OK", b"[1]")],
)
async def test_an_answer_without_a_token_is_none(status: str, body: bytes) -> None:
    assert (await fetched_from(status, body))[0] is None


async def test_no_issuer_is_none(free_port: int) -> None:
    assert await fetch_token("") is None
    assert await fetch_token(f"http://127.0.0.1:{free_port}") is None
    assert await fetch_token("https://issuer.example") is None
