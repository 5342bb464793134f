"""The catalogue can be read to its end, and the cache in front of it can be trusted, damaged or gone."""

from __future__ import annotations

from pathlib import Path

import httpx
import redis

from tests.acceptance.service.conftest import Addresses, Process, free_port, run_api
from tests.conftest import Stack


def results(api: Process) -> dict[str, float]:
    return {
        result: api.counter(f'cache_requests_total{{cache="products",result="{result}"}}')
        for result in ("hit", "miss", "error")
    }


def entry(valkey: redis.Redis, product: int) -> bytes:
    """Where the copy of a product lies."""
    (key,) = valkey.scan_iter(f"products:*:{product}", count=10_000)
    return bytes(key)


def test_following_the_cursor_reads_every_product_once(user: httpx.Client) -> None:
    seen: list[int] = []
    query: dict[str, str | int] = {"limit": 100}
    while True:
        answer = user.get("/v1/products", params=query)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        assert 1 <= len(page["items"]) <= 100
        seen += [product["id"] for product in page["items"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert seen == list(range(1, 100_001))


def test_a_product_is_read_from_the_database_once_and_then_from_the_cache(api: Process, addresses: Addresses) -> None:
    with redis.Redis.from_url(addresses.valkey) as valkey:
        api.http.get("/v1/products/70001")
        valkey.delete(entry(valkey, 70001))
        before = results(api)
        answers = [api.http.get("/v1/products/70001").json() for _ in range(3)]
        assert answers[0] == answers[1] == answers[2]
        after = results(api)
        assert {name: after[name] - before[name] for name in after} == {"hit": 2, "miss": 1, "error": 0}
        assert 0 < valkey.pttl(entry(valkey, 70001)) <= 33_000


def test_a_damaged_entry_is_overwritten_not_believed(api: Process, addresses: Addresses) -> None:
    with redis.Redis.from_url(addresses.valkey) as valkey:
        honest = api.http.get("/v1/products/70002").json()
        for damage in (
            b"",
            b"{",
            b"null",
            b'{"id": 70002}',
            b"\x00\xff",
            b'{"id":"x","name":1,"price_cents":1,"stock":1}',
        ):
            valkey.set(entry(valkey, 70002), damage)
            before = results(api)
            assert api.http.get("/v1/products/70002").json() == honest
            assert results(api)["error"] == before["error"] + 1
            assert api.http.get("/v1/products/70002").json() == honest
            assert results(api)["hit"] == before["hit"] + 1


def test_without_valkey_the_catalogue_is_served_all_the_same(
    stack: Stack, addresses: Addresses, tmp_path: Path
) -> None:
    nowhere = f"redis://127.0.0.1:{free_port()}/0"
    with run_api(stack, addresses, tmp_path / "api.log", VALKEY_URL=nowhere) as api:
        for product in range(70_003, 70_013):
            assert api.http.get(f"/v1/products/{product}").json()["id"] == product
        assert results(api) == {"hit": 0, "miss": 0, "error": 10}
        assert api.http.get("/readyz").status_code == 200
