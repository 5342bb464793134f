"""Random, slow and malformed requests at the running stack: nothing breaks, and nobody else notices."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial

import httpx
import pytest

from bench.fuzz.ask import fuzz
from bench.fuzz.targets import api as api_of_all
from bench.fuzz.targets import own_issuer, payments
from bench.idle.__main__ import run
from bench.idle.malformed import LARGEST_HEAD, MALFORMED
from bench.idle.pressure import Pressure, Target, idle, malformed, slow
from tests.acceptance.service.conftest import Process
from tests.conftest import Stack

HEADER_TIMEOUT_S, BODY_TIMEOUT_S = 5.0, 15.0  # deploy/gateway/Caddyfile
ROOM_S = 8.0  # for a busy machine


@pytest.mark.parametrize("name", ["api", "payments", "issuer"])
def test_requests_at_random_by_its_own_description_find_nothing(stack: Stack, name: str) -> None:
    """Promise 14 in short; ``make bench-fuzz`` asks ten thousand times."""
    with ExitStack() as ending:
        if name == "issuer":  # one of its own: keys that are rotated would sign everybody out
            target = ending.enter_context(own_issuer())
        elif name == "payments":
            target = payments(stack.urls[name], stack.urls["issuer"], stack.secret("client_secret"))
        else:
            target = api_of_all(stack.urls["gateway"], stack.urls["issuer"])
        found = fuzz(target, cases=360, seed=7)
    assert not found.failures, "\n\n".join(found.failures[:5])
    assert found.server_errors == 0
    assert found.statuses.total() >= 360
    assert {status[0] for status in found.statuses} == {"2", "4"}, "valid and invalid requests, each answered so"


def connect(stack: Stack, url: str = "") -> socket.socket:
    address = httpx.URL(url or stack.urls["gateway"])
    return socket.create_connection((address.host, address.port or 80), timeout=BODY_TIMEOUT_S + ROOM_S)


@pytest.mark.parametrize("at", ["gateway", "api"])
@pytest.mark.parametrize("request_bytes", MALFORMED.values(), ids=MALFORMED)
def test_malformed_and_oversized_requests_are_refused_at_the_socket(
    stack: Stack, api: Process, at: str, request_bytes: bytes
) -> None:
    """The gateway passes none of them on; and were it not there, none would be a failure of the API's."""
    url = stack.urls["gateway"] if at == "gateway" else str(api.http.base_url)
    with connect(stack, url) as raw:
        try:
            raw.sendall(request_bytes)
            raw.shutdown(socket.SHUT_WR)
            answer = raw.recv(65536)
        except OSError:
            answer = b""  # hung up on: a refusal as well
    status = answer.split()[1].decode() if answer else "hung up on"
    # 505 is the protocol's word for a version that nobody speaks
    allowed = r"4\d\d|505|hung up on" if at == "gateway" else r"[24]\d\d|505|hung up on"
    assert re.fullmatch(allowed, status), answer[:200]
    assert httpx.get(f"{url}/v2/products/1", timeout=15).status_code == 200


@pytest.mark.parametrize("at", ["gateway", "api"])
@pytest.mark.parametrize(
    "pressure", [partial(idle, 1000), partial(slow, 100), partial(malformed, 30)], ids=["idle", "slow", "malformed"]
)
def test_strangers_connections_are_noticed_by_nobody(stack: Stack, api: Process, at: str, pressure: Pressure) -> None:
    """In short, and by the median, which other work on the machine moves least. ``make bench-idle`` holds ten thousand,
    and compares p99."""
    gateway, own = stack.urls["gateway"], str(api.http.base_url).rstrip("/")
    target = Target(at, gateway, "/healthz") if at == "gateway" else Target(at, own, "/livez")
    seen = asyncio.run(run(target, pressure, seconds=3, turns=1))
    assert seen.get("still_open", 0) == (seen["opened"] if "still_open" in seen else 0), seen
    assert not [name for name in seen if re.fullmatch("failed|answered_50[0-4]", name) and seen[name]], seen
    assert seen["with"]["p50_ms"] <= 2 * seen["without"]["p50_ms"] + 10, seen


def test_slow_clients_are_hung_up_on_and_hold_nobody_up(stack: Stack) -> None:
    """Slowloris: a header, and a body, of which a byte comes now and then."""

    def drip(head: bytes, at_most_s: float) -> float:
        started = time.monotonic()
        with connect(stack) as raw:
            raw.sendall(head)
            raw.settimeout(0.5)
            while time.monotonic() - started < at_most_s:
                try:
                    raw.sendall(b"a")
                    if not raw.recv(1000):
                        break
                except TimeoutError:
                    continue
                except OSError:
                    break
        return time.monotonic() - started

    head = b"GET /v2/products HTTP/1.1\r\nHost: x\r\nX-Slow: "
    body = b"POST /v2/orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9999\r\n\r\n"
    with ThreadPoolExecutor(24) as hands:
        heads = [hands.submit(drip, head, HEADER_TIMEOUT_S + ROOM_S) for _ in range(20)]
        bodies = [hands.submit(drip, body, BODY_TIMEOUT_S + ROOM_S) for _ in range(4)]
        with httpx.Client(base_url=stack.urls["gateway"], timeout=15) as other:
            assert {other.get("/v2/products/1").status_code for _ in range(20)} == {200}
        assert max(held.result() for held in heads) < HEADER_TIMEOUT_S + ROOM_S
        assert max(held.result() for held in bodies) < BODY_TIMEOUT_S + ROOM_S
        assert httpx.get(f"{stack.urls['gateway']}/v2/products/1", timeout=15).status_code == 200, "replicas are out"


@pytest.mark.parametrize(("method", "path"), [("POST", "/v2/orders"), ("PATCH", "/v2/users/1"), ("POST", "/v1/orders")])
def test_a_stranger_is_told_that_he_is_one_and_not_what_is_wrong_with_his_body(
    stack: Stack, method: str, path: str
) -> None:
    """Otherwise nonsense would be parsed for everybody, and counted for nobody."""
    for body in (b"{", b'{"\xff": 1}', b"[]"):
        headers = {"content-type": "application/json"}
        answer = httpx.request(method, f"{stack.urls['gateway']}{path}", content=body, headers=headers, timeout=15)
        assert answer.status_code == 401, answer.text
        assert answer.headers["ratelimit"]
        assert answer.headers["www-authenticate"].startswith("Bearer")


def test_no_request_of_strangers_takes_a_replica_out(stack: Stack) -> None:
    """A body that breaks off, or a head as large as may be, must not count as the replica's failure: a few such would
    take every replica out."""
    broken = [
        b"POST /v2/orders HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /v2/orders HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
        b"POST /v2/orders HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\nContent-Length: 100\r\n\r\n{",
    ]
    for request_bytes in broken * 6:
        with connect(stack) as raw:
            raw.sendall(request_bytes)
            raw.shutdown(socket.SHUT_WR)
            raw.recv(1000)
        with connect(stack) as raw:
            raw.sendall(LARGEST_HEAD)
            assert raw.recv(1000).startswith(b"HTTP/1.1 200 "), "what the gateway lets through no replica refuses"
    assert httpx.get(f"{stack.urls['gateway']}/v2/products/1", timeout=15).status_code == 200
