"""Whoever waits for a connection is seen to wait: for one of Valkey's pools, and for one to another service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx2
import pytest
from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from service.telemetry.testing import Recorded

pytestmark = pytest.mark.anyio

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
PAUSE_S = 0.2


@asynccontextmanager
async def serving(talk: Talk) -> AsyncIterator[int]:
    """A server on a free port that talks so with each connection."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def as_valkey(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One that knows no key; it takes ``PAUSE_S`` over each GET, and to HELLO and the like it says OK."""
    while True:
        words = int((await reader.readuntil(b"\r\n"))[1:])
        said = []
        for _ in range(words):
            await reader.readuntil(b"\r\n")
            said.append((await reader.readuntil(b"\r\n")).strip())
        if said[0] == b"GET":
            await asyncio.sleep(PAUSE_S)
        writer.write(b"$-1\r\n" if said[0] == b"GET" else b"+OK\r\n")


async def as_a_service(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One that takes ``PAUSE_S`` over an answer."""
    while True:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(PAUSE_S)
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")


def client_of(port: int, pool_size: int, patience_s: float = 5) -> Redis:
    url = f"redis://127.0.0.1:{port}/0?protocol=2"
    return Redis.from_pool(BlockingConnectionPool.from_url(url, max_connections=pool_size, timeout=patience_s))


def sample(recorded: Recorded, name: str, **labels: str) -> float:
    recorded.telemetry.pipeline.drain()
    found = recorded.telemetry.instruments.registry.get_sample_value(name, labels)
    assert found is not None, f"no {name} {labels} in\n{recorded.metrics_text()}"
    return found


def of_pool(recorded: Recorded, what: str, pool: str, **labels: str) -> float:
    return sample(recorded, f"db_client_connection_{what}", db_client_connection_pool_name=pool, **labels)


async def test_who_waits_for_a_connection_to_valkey_is_counted_in_his_own_pool(recorded: Recorded) -> None:
    async with serving(as_valkey) as port:
        cache, quotas = client_of(port, pool_size=1), client_of(port, pool_size=3)
        recorded.telemetry.instrument_redis(cache, pool_name="cache")
        recorded.telemetry.instrument_redis(quotas, pool_name="quotas")
        with recorded.telemetry.span("a request"):
            await asyncio.gather(cache.get("a"), cache.get("b"), quotas.get("c"))
        assert of_pool(recorded, "wait_time_seconds_count", "cache") == 2
        assert of_pool(recorded, "wait_time_seconds_sum", "cache") >= PAUSE_S * 0.9, "one waited for the other"
        assert of_pool(recorded, "wait_time_seconds_count", "quotas") == 1
        assert of_pool(recorded, "wait_time_seconds_sum", "quotas") < PAUSE_S * 0.9
        assert (of_pool(recorded, "max", "cache"), of_pool(recorded, "max", "quotas")) == (1, 3)
        assert of_pool(recorded, "count", "cache", db_client_connection_state="idle") == 1
        for pool, times in (("cache", 2), ("quotas", 1)):
            labels = {"db_system_name": "redis", "db_client_connection_pool_name": pool}
            labels |= {"db_operation_name": "GET", "outcome": "good"}
            recorded.spans()
            assert sample(recorded, "db_client_operation_duration_seconds_count", **labels) == times
        pools = [recorded.attributes(span).get("db.client.connection.pool.name") for span in recorded.spans()]
        assert sorted(filter(None, pools)) == ["cache", "cache", "quotas"]
        await cache.aclose()
        await quotas.aclose()


async def test_a_pipeline_waits_as_a_command_does_and_what_is_in_use_is_seen(recorded: Recorded) -> None:
    async with serving(as_valkey) as port:
        client = client_of(port, pool_size=1)
        recorded.telemetry.instrument_redis(client, pool_name="cache")
        asking = asyncio.ensure_future(client.pipeline(transaction=False).get("a").execute())
        await asyncio.sleep(PAUSE_S / 2)
        assert of_pool(recorded, "count", "cache", db_client_connection_state="used") == 1
        await asking
        assert of_pool(recorded, "wait_time_seconds_count", "cache") == 1
        await client.aclose()


async def test_who_gave_up_waiting_is_counted_and_a_server_that_is_away_is_another_matter(recorded: Recorded) -> None:
    async with serving(as_valkey) as port:
        client = client_of(port, pool_size=1, patience_s=PAUSE_S / 2)
        recorded.telemetry.instrument_redis(client, pool_name="cache")
        told = await asyncio.gather(client.get("a"), client.get("b"), return_exceptions=True)
        assert [type(one) for one in told] == [type(None), RedisConnectionError]
        assert of_pool(recorded, "timeouts_total", "cache") == 1
        assert of_pool(recorded, "wait_time_seconds_sum", "cache") >= PAUSE_S / 2 * 0.9, (
            "in vain, and waited all the same"
        )
        await client.aclose()
    gone = client_of(port, pool_size=1)
    recorded.telemetry.instrument_redis(gone, pool_name="gone")
    with pytest.raises(RedisConnectionError):
        await gone.get("a")
    assert of_pool(recorded, "timeouts_total", "gone") == 0
    await gone.aclose()


def queued(recorded: Recorded, what: str, peer: str = "payments") -> float:
    name = f"http_client_request_time_in_queue_seconds_{what}"
    return sample(recorded, name, peer_service=peer, server_address="127.0.0.1")


async def test_a_call_that_waits_for_another_to_give_its_connection_back_is_seen_to_wait(recorded: Recorded) -> None:
    events: list[str] = []

    async def listen(event: str, details: object) -> None:
        events.append(event)

    async with (
        serving(as_a_service) as port,
        httpx2.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", limits=httpx2.Limits(max_connections=1), timeout=5
        ) as client,
    ):
        recorded.telemetry.instrument_http_client(client, peer="payments")
        await client.get("/", extensions={"trace": listen})
        assert (queued(recorded, "count"), queued(recorded, "sum") < PAUSE_S * 0.9) == (1, True), "an answer is no wait"
        assert {"connection.connect_tcp.started", "http11.response_closed.complete"} <= {*events}, "the caller's own"
        await asyncio.gather(client.get("/"), client.get("/"))
        assert queued(recorded, "count") == 3
        assert queued(recorded, "sum") >= PAUSE_S * 0.9


async def test_who_waits_in_vain_is_seen_to_wait_and_whoever_waits_for_an_answer_is_not(recorded: Recorded) -> None:
    async with (
        serving(as_a_service) as port,
        httpx2.AsyncClient(
            base_url=f"http://127.0.0.1:{port}",
            limits=httpx2.Limits(max_connections=1),
            timeout=httpx2.Timeout(5, pool=PAUSE_S / 4),
        ) as client,
    ):
        recorded.telemetry.instrument_http_client(client, peer="payments")
        calls = [asyncio.ensure_future(client.get("/")) for _ in range(3)]
        await asyncio.sleep(PAUSE_S / 8)
        calls[1].cancel()
        told = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(one) for one in told] == [httpx2.Response, asyncio.CancelledError, httpx2.PoolTimeout]
        assert queued(recorded, "count") == 3
        assert PAUSE_S * 3 / 8 * 0.8 <= queued(recorded, "sum") < PAUSE_S * 0.9
        given_up = asyncio.ensure_future(client.get("/"))
        await asyncio.sleep(PAUSE_S / 2)
        given_up.cancel()
        await asyncio.gather(given_up, return_exceptions=True)
        assert queued(recorded, "count") == 4
        assert queued(recorded, "sum") < PAUSE_S * 0.9, "it had its connection, and waited for the answer"
