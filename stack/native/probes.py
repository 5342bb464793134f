"""One look at a component: does it answer as a ready one does?

Every probe returns None when it does and otherwise the reason in a few words; none raises. Knows nothing of what to do
about it.
"""

import asyncio
from collections.abc import Awaitable, Mapping
from contextlib import suppress

import asyncpg

from stack.components import Probe
from stack.native.credentials import Credentials

TIMEOUT_S = 3.0
MOST_BYTES = 4096


async def look(probe: Probe, ports: Mapping[str, int], credentials: Credentials) -> str | None:
    """One look at a component in the way that its probe says."""
    port = ports[probe.port]
    match probe.kind:
        case "http":
            return await probe_http(port, probe.target)
        case "sql":
            password = credentials["postgres_password"]
            return await probe_sql(port, probe.target, user="postgres", password=password, otherwise=probe.otherwise)
        case "valkey":
            return await probe_valkey(port)


async def probe_http(port: int, path: str, *, host: str = "127.0.0.1", timeout_s: float = TIMEOUT_S) -> str | None:
    """Ready when `GET path` answers 2xx. The reason carries the beginning of the body, where readiness says why not."""

    async def look() -> str | None:
        status, body = await http_request("GET", port, path, host=host)
        if 200 <= status < 300:
            return None
        return f"{path} answers {status} {' '.join(body.split())[:200]}".rstrip()

    return await _within(look(), timeout_s)


async def http_request(method: str, port: int, path: str, *, host: str = "127.0.0.1") -> tuple[int, str]:
    """The smallest HTTP client that does: status and the beginning of the body. Raises OSError or ValueError."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(
            f"{method} {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUser-Agent: signalbox\r\n"
            "Content-Length: 0\r\nConnection: close\r\n\r\n".encode()
        )
        answer = await reader.readuntil(b"\r\n")
        while len(answer) < MOST_BYTES and (chunk := await reader.read(MOST_BYTES)):
            answer += chunk
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise ConnectionError("no HTTP answer") from error
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    words = head.split(maxsplit=2)
    if len(words) < 2 or not words[1].isdigit():
        raise ConnectionError("no HTTP answer")
    return int(words[1]), body.decode(errors="replace")


async def post(port: int, path: str, *, timeout_s: float = 10.0) -> str | None:
    """Send an empty POST; None when it is answered 2xx."""

    async def send() -> str | None:
        status, body = await http_request("POST", port, path)
        return None if 200 <= status < 300 else f"{path} answers {status} {' '.join(body.split())[:200]}".rstrip()

    return await _within(send(), timeout_s)


async def probe_valkey(port: int, *, timeout_s: float = TIMEOUT_S) -> str | None:
    """Ready when PING is answered by PONG, or by the demand for a password (the data is loaded either way)."""

    async def look() -> str | None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(b"PING\r\n")
            answer = (await reader.readline()).decode(errors="replace").strip()
        finally:
            writer.close()
        return None if answer.startswith(("+PONG", "-NOAUTH")) else f"PING answers {answer[:80]!r}"

    return await _within(look(), timeout_s)


async def probe_sql(
    port: int, query: str, *, user: str, password: str, otherwise: str = "", timeout_s: float = TIMEOUT_S
) -> str | None:
    """Ready when the query's one value is true; `otherwise` is said when it is not."""

    async def look() -> str | None:
        connection = await asyncpg.connect(
            host="127.0.0.1",
            port=port,
            user=user,
            password=password,
            database="postgres",
            ssl=False,
            timeout=timeout_s,
            statement_cache_size=0,
            server_settings={"application_name": "signalbox-probe"},
        )
        try:
            return None if await connection.fetchval(query) else otherwise or f"not true: {query}"
        finally:
            await connection.close()

    return await _within(look(), timeout_s)


async def _within(look: Awaitable[str | None], timeout_s: float) -> str | None:
    try:
        async with asyncio.timeout(timeout_s):  # not wait_for: that of 3.11 can swallow a cancellation
            return await look
    except TimeoutError:
        return f"no answer within {timeout_s:g} s"
    except ConnectionRefusedError:
        return "refuses connections"
    except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        return str(error) or type(error).__name__
