"""Random, slow and malformed requests at the running stack: nothing breaks, and nobody else notices."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx
import pytest

from bench.fuzz.ask import fuzz
from bench.fuzz.targets import own_issuer, signed_in
from tests.conftest import Stack

HEADER_TIMEOUT_S, BODY_TIMEOUT_S = 5.0, 15.0  # deploy/gateway/Caddyfile
ROOM_S = 8.0  # for a busy machine


@pytest.mark.parametrize("name", ["api", "payments", "issuer"])
def test_requests_at_random_by_its_own_description_find_nothing(stack: Stack, name: str) -> None:
    """Promise 14 in short; ``make bench-fuzz`` asks ten thousand times."""
    with ExitStack() as ending:
        if name == "issuer":  # one of its own: keys that are rotated would sign everybody out
            target = ending.enter_context(own_issuer())
        else:
            target = signed_in(name, stack.urls["gateway" if name == "api" else name], stack.urls["issuer"])
        found = fuzz(target, cases=360, seed=7)
    assert not found.failures, "\n\n".join(found.failures[:5])
    assert found.server_errors == 0
    assert found.statuses.total() >= 360
    assert {status[0] for status in found.statuses} == {"2", "4"}, "valid and invalid requests, each answered so"


def connect(stack: Stack) -> socket.socket:
    address = httpx.URL(stack.urls["gateway"])
    return socket.create_connection((address.host, address.port or 80), timeout=BODY_TIMEOUT_S + ROOM_S)


MALFORMED = {
    "no HTTP": b"hello\r\n\r\n",
    "binary": bytes(range(256)) + b"\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64,
    "no host": b"GET /v2/products HTTP/1.1\r\n\r\n",
    "two lengths": b"POST /v2/orders HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "negative length": b"POST /v2/orders HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    "length and chunks": b"POST /v2/orders HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a broken chunk": b"POST /v2/orders HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a header with NUL": b"GET /v2/products HTTP/1.1\r\nHost: x\r\nX-A: \x00\r\n\r\n",
    "another version": b"GET /v2/products HTTP/9.9\r\nHost: x\r\n\r\n",
    "a long line": b"GET /v2/" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "many headers": b"GET /v2/products HTTP/1.1\r\nHost: x\r\n" + b"X-A: b\r\n" * 20_000 + b"\r\n",
}


@pytest.mark.parametrize("request_bytes", MALFORMED.values(), ids=MALFORMED)
def test_malformed_requests_are_refused_at_the_socket(stack: Stack, request_bytes: bytes) -> None:
    with connect(stack) as raw:
        try:
            raw.sendall(request_bytes)
            raw.shutdown(socket.SHUT_WR)
            answer = raw.recv(65536)
        except OSError:
            answer = b""  # hung up on: a refusal as well
    # 505 is the protocol's word for a version that nobody speaks
    assert not answer or answer.split()[1][:1] == b"4" or answer.split()[1] == b"505", answer[:200]
    assert httpx.get(f"{stack.urls['gateway']}/v2/products/1", timeout=15).status_code == 200


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
    """A body that breaks off must not count as the replica's failure: a few such would take every replica out."""
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
    assert httpx.get(f"{stack.urls['gateway']}/v2/products/1", timeout=15).status_code == 200
