"""Without Valkey the cache costs an error and never an answer."""

from __future__ import annotations

import socket
from dataclasses import make_dataclass

import pytest

from service.catalog.model import Product
from service.data.cache import Cache, build_cache_client
from service.outbound import LEAST_CALLS
from service.telemetry.testing import Recorded

pytestmark = pytest.mark.anyio


def a_closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def test_keys_change_with_the_version_and_with_the_shape_of_what_is_kept() -> None:
    client = build_cache_client("redis://127.0.0.1:1/0", pool_size=1)

    def entry(kind: type[object], version: int = 1) -> str:
        return Cache(client, "products", kind, ttl_s=30, absent_ttl_s=5, version=version).entry(7)

    as_it_is = make_dataclass("Product", [("id", int), ("name", str)])
    the_same = make_dataclass("Product", [("id", int), ("name", str)])
    grown = make_dataclass("Product", [("id", int), ("name", str), ("stock", int)])
    assert entry(as_it_is) == entry(the_same)
    assert len({entry(as_it_is), entry(grown), entry(as_it_is, version=2)}) == 3
    await client.aclose()


async def test_a_cache_that_is_gone_is_an_error_and_the_source_answers(recorded: Recorded) -> None:
    client = build_cache_client(f"redis://127.0.0.1:{a_closed_port()}/0", pool_size=2)
    cache = Cache(client, "products", Product, ttl_s=30, absent_ttl_s=5)
    product = Product(1, "Slim Oak Desk", 100, 5)

    async def load() -> Product | None:
        return product

    async def load_nothing() -> Product | None:
        return None

    assert await cache.get(1, load) == product
    assert await cache.get(2, load_nothing) is None
    await client.aclose()
    text = recorded.metrics_text()
    assert 'cache_requests_total{cache="products",result="error"} 2.0' in text
    assert 'cache_requests_total{cache="products",result="hit"} 0.0' in text
    assert 'cache_requests_total{cache="products",result="miss"} 0.0' in text


async def test_a_circuit_that_is_open_spares_a_cache_every_command(recorded: Recorded) -> None:
    client = build_cache_client(f"redis://127.0.0.1:{a_closed_port()}/0", pool_size=2)
    cache = Cache(client, "products", Product, ttl_s=30, absent_ttl_s=5)

    async def load() -> Product | None:
        return None

    for key in range(LEAST_CALLS):
        await cache.get(key, load)
    entry = cache.entry(1)
    refused = 'circuit_refused_total{peer="cache"} '
    assert refused + "0.0" in recorded.metrics_text()
    await cache.get(1, load)
    await cache._keep(entry, "a lease", None, 0.1)
    await cache._give_up(entry)
    assert refused + "3.0" in recorded.metrics_text()
    await client.aclose()
