"""A probe says nothing when the component is ready, and otherwise why it is not; it raises at nothing."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from stack.native.probes import post, probe_http, probe_sql, probe_valkey


@asynccontextmanager
async def server(answer: bytes | None, seen: Callable[[bytes], None] = lambda request: None) -> AsyncIterator[int]:
    """Answers every connection with the same bytes; with None it never answers."""
    never = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen(await reader.readline())
        if answer is None:
            await never.wait()
        else:
            writer.write(answer)
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        never.set()
        listening.close()


def look_at(answer: bytes | None, probe: Callable[[int], object]):
    async def look():
        async with server(answer) as port:
            return await probe(port)

    return asyncio.run(look())


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\nok", None),
        (b"HTTP/1.1 204 No Content\r\n\r\n", None),
        (b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 100_000, None),
        (b'HTTP/1.1 503 Nope\r\n\r\n{"failing":\n "postgres"}', '/readyz answers 503 {"failing": "postgres"}'),
        (b"HTTP/1.1 302 Found\r\n\r\n", "/readyz answers 302"),
        (b"SSH-2.0-OpenSSH\r\n", "no HTTP answer"),
        (b"", "no HTTP answer"),
        (b"\xff" * 70_000, "no HTTP answer"),
        (None, "no answer within 0.2 s"),
    ],
)
def test_http_is_ready_when_it_answers_2xx(answer, reason):
    assert look_at(answer, lambda port: probe_http(port, "/readyz", timeout_s=0.2)) == reason


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"+PONG\r\n", None),
        (b"-NOAUTH Authentication required.\r\n", None),
        (
            b"-LOADING Valkey is loading the dataset in memory\r\n",
            "PING answers '-LOADING Valkey is loading the dataset",
        ),
        (b"", "PING answers ''"),
        (None, "no answer within 0.2 s"),
    ],
)
def test_valkey_is_ready_when_it_answers_ping_or_asks_for_the_password(answer, reason):
    said = look_at(answer, lambda port: probe_valkey(port, timeout_s=0.2))
    assert (said or "").startswith(reason or "")
    assert (said is None) == (reason is None)


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0" * 50, None])
def test_sql_that_is_not_answered_by_postgresql_is_not_ready(answer):
    said = look_at(answer, lambda port: probe_sql(port, "select true", user="u", password="p", timeout_s=0.3))
    assert said


def test_nobody_listening_is_said_in_so_many_words():
    async def look():
        async with server(b"") as port:
            pass
        return await probe_http(port, "/"), await probe_valkey(port)

    assert asyncio.run(look()) == ("refuses connections", "refuses connections")


def test_a_reload_is_a_post():
    seen: list[bytes] = []

    async def reload():
        async with server(b"HTTP/1.1 200 OK\r\n\r\n", seen.append) as port:
            return await post(port, "/-/reload")

    assert asyncio.run(reload()) is None
    assert seen == [b"POST /-/reload HTTP/1.1\r\n"]
