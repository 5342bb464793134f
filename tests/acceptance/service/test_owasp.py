"""The OWASP API Security Top 10 (2023), each tried at the running stack's front door.

Quotas, which the stack has too large to be used up by a test, are tried at an api of the test's own.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import re
import socket
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from jwt.algorithms import ECAlgorithm

from bench.fuzz.targets import own_issuer
from tests.acceptance.conftest import sign_in
from tests.acceptance.service.conftest import Addresses, Sql, run_api
from tests.acceptance.service.nonsense import nonsense
from tests.conftest import Stack

ALICE, BOB = 31, 32


@pytest.fixture
def alice(stack: Stack) -> Iterator[httpx.Client]:
    with sign_in(stack.urls, ALICE) as client:
        yield client


@pytest.fixture
def bob(stack: Stack) -> Iterator[httpx.Client]:
    with sign_in(stack.urls, BOB) as client:
        yield client


@pytest.fixture
def anyone(stack: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.urls["gateway"], timeout=15) as client:
        yield client


@pytest.fixture(scope="module")
def strict(stack: Stack, addresses: Addresses, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an api that asks for tokens and allows five requests a minute and route, two of them purchases."""
    log = tmp_path_factory.mktemp("strict") / "api.log"
    own_counts = addresses.valkey.removesuffix("/0") + "/2"
    limits = {"RATE_LIMIT": "5/60", "RATE_LIMITS": '{"POST /v2/orders": "2/60"}', "VALKEY_URL": own_counts}
    with run_api(stack, addresses, log, SIGN_IN="required", **limits) as api:
        yield str(api.http.base_url).rstrip("/")


def someone(stack: Stack, address: str) -> tuple[int, httpx.Client]:
    """A user who has asked for nothing so far, signed in at ``address``."""
    user_id = random.randint(1_000, 50_000)
    with sign_in(stack.urls, user_id) as client:
        return user_id, httpx.Client(base_url=address, timeout=15, headers=client.headers)


def refused(answers: Sequence[httpx.Response]) -> bool:
    """Whether the last of them was one too many, and was told how long to wait."""
    last = answers[-1]
    return last.status_code == 429 and kind(last) == "too-many-requests" and int(last.headers["retry-after"]) > 0


def an_order(user_id: int, product: int = 800, quantity: int = 1) -> dict[str, Any]:
    return {"user_id": user_id, "items": [{"product_id": product, "quantity": quantity}]}


def kind(answer: httpx.Response) -> str:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    return str(answer.json()["type"]).removeprefix("urn:signalbox:problem:")


def test_api1_broken_object_level_authorization(alice: httpx.Client, bob: httpx.Client, user: httpx.Client) -> None:
    """What is another's looks as if it were not there; what is one's own, and what a service asks, is answered."""
    placed = alice.post("/v2/orders", json=an_order(ALICE))
    assert placed.status_code == 201, placed.text
    where = placed.headers["location"]
    assert alice.get(where).status_code == user.get(where).status_code == 200
    for version in ("v1", "v2"):
        hidden, missing = bob.get(where.replace("v2", version)), bob.get(f"/{version}/orders/{uuid4()}")
        assert (hidden.status_code, kind(hidden)) == (missing.status_code, kind(missing)) == (404, "order-not-found")
        hidden, missing = bob.get(f"/{version}/users/{ALICE}"), bob.get(f"/{version}/users/999999999")
        assert (hidden.status_code, kind(hidden)) == (missing.status_code, kind(missing)) == (404, "user-not-found")
    tag = alice.get(f"/v2/users/{ALICE}").headers["etag"]
    assert bob.patch(f"/v2/users/{ALICE}", json={"name": "Mallory"}, headers={"If-Match": tag}).status_code == 404
    assert alice.get(f"/v2/users/{ALICE}").headers["etag"] == tag
    stolen = bob.post("/v2/orders", json=an_order(ALICE))
    assert (stolen.status_code, kind(stolen)) == (403, "not-yours")
    key = {"Idempotency-Key": str(uuid4())}
    mine = alice.post("/v2/orders", json=an_order(ALICE), headers=key)
    assert bob.post("/v2/orders", json=an_order(BOB), headers=key).json()["id"] != mine.json()["id"]


def test_api2_broken_authentication(stack: Stack, alice: httpx.Client, anyone: httpx.Client) -> None:
    """No token, another scheme, a forged, changed or expired one: 401, and no word on which it was but expiry."""
    token = alice.headers["authorization"].removeprefix("Bearer ")
    claims = jwt.decode(token, options={"verify_signature": False})
    named = {"kid": jwt.get_unverified_header(token)["kid"]}
    head, _, signature = token.split(".")
    other = base64.urlsafe_b64encode(json.dumps({**claims, "sub": str(BOB)}).encode()).rstrip(b"=").decode()
    own = generate_private_key(SECP256R1())
    forgeries = [
        jwt.encode(claims, None, "none", headers=named),
        jwt.encode(claims, "guessed" * 6, "HS256", headers=named),
        jwt.encode(claims, own, "ES256", headers=named),
        jwt.encode(
            claims, own, "ES256", headers={"kid": "x", "jwk": ECAlgorithm.to_jwk(own.public_key(), as_dict=True)}
        ),
        token[:-8] + ("AAAAAAAA" if not token.endswith("AAAAAAAA") else "BBBBBBBB"),
        f"{head}.{other}.{signature}",
        f"{head}.{other}.",
    ]
    for authorization in (
        None,
        "Basic YWRhOmFkYQ==",
        "Bearer",
        *(f"Bearer {forged}" for forged in forgeries),
    ):
        headers = {"authorization": authorization} if authorization else {}
        for user in (ALICE, BOB):
            answer = anyone.get(f"/v2/users/{user}", headers=headers, params={"access_token": token})
            assert (answer.status_code, kind(answer)) == (401, "unauthenticated"), authorization
            assert answer.headers["www-authenticate"].startswith("Bearer ")
    with sign_in(stack.urls, ALICE, ttl_s=-120) as late:
        assert late.get(f"/v2/users/{ALICE}").json()["detail"] == "the token has expired"
    assert alice.get(f"/v2/users/{ALICE}").status_code == 200


def test_api2_who_guesses_tokens_does_not_guess_for_long(strict: str) -> None:
    guesses = [
        httpx.get(f"{strict}/v2/users/1", headers={"authorization": f"Bearer {n}"}, timeout=15) for n in range(6)
    ]
    assert {answer.status_code for answer in guesses} == {401, 429}
    assert refused(guesses)


def test_api2_a_token_for_another_service_or_of_another_issuer_is_not_taken(
    stack: Stack, addresses: Addresses, alice: httpx.Client, tmp_path: Path
) -> None:
    with (
        own_issuer() as foreign,
        run_api(stack, addresses, tmp_path / "1.log", SIGN_IN="required", AUDIENCE="another-service") as for_others,
        run_api(stack, addresses, tmp_path / "2.log", SIGN_IN="required", ISSUER_URL=foreign.url) as of_others,
    ):
        for api in (for_others, of_others):
            answer = api.http.get(f"/v2/users/{ALICE}", headers={"authorization": alice.headers["authorization"]})
            assert (answer.status_code, kind(answer)) == (401, "unauthenticated")
        token = httpx.post(f"{foreign.url}/development/user-token", json={"user_id": ALICE}).json()["access_token"]
        theirs = {"authorization": f"Bearer {token}"}
        assert of_others.http.get(f"/v2/users/{ALICE}", headers=theirs).status_code == 200
        assert alice.get(f"/v2/users/{ALICE}", headers=theirs).status_code == 401


def test_api3_broken_object_property_level_authorization(alice: httpx.Client) -> None:
    """Nobody writes a property that is not his to write, or reads one that is not described."""
    me = f"/v2/users/{ALICE}"
    seen = alice.get(me)
    for change in ({"id": 1}, {"version": 9}, {"name": "x", "role": "admin"}, {"scopes": ["any-user"]}, {}):
        answer = alice.patch(me, json=change, headers={"If-Match": seen.headers["etag"]})
        assert (answer.status_code, kind(answer)) == (422, "validation"), change
    for extra in ({"total": {"cents": 1}}, {"status": "fulfilled"}, {"price_cents": 1}):
        assert alice.post("/v2/orders", json={**an_order(ALICE), **extra}).status_code == 422
    item = {"product_id": 800, "quantity": 1, "unit_price_cents": 1}
    assert alice.post("/v2/orders", json={"user_id": ALICE, "items": [item]}).status_code == 422
    assert set(seen.json()) == {"id", "name", "email"}
    document = alice.get("/openapi.json").json()
    ordered = alice.post("/v2/orders", json=an_order(ALICE)).json()
    for told, form in ((ordered, "OrderOut"), (alice.get("/v2/products/800").json(), "ProductOut")):
        assert set(told) == set(document["components"]["schemas"][form]["properties"])


def test_api4_unrestricted_resource_consumption(stack: Stack, strict: str, alice: httpx.Client) -> None:
    """Every size has a bound, and every route a quota that it tells and holds to, for each client by itself."""
    too_large = {
        alice.get("/v2/products", params={"limit": 101}).status_code,
        alice.post("/v2/orders", json=an_order(ALICE, quantity=101)).status_code,
        alice.post("/v2/orders", json={"user_id": ALICE, "items": [*an_order(ALICE)["items"]] * 21}).status_code,
        alice.post("/v2/orders", content=b"[" * 10_000, headers={"content-type": "application/json"}).status_code,
    }
    assert too_large <= {422, 400}
    kinds = {"content-type": "application/json"}
    assert alice.post("/v2/orders", content=b" " * 20_000, headers=kinds).status_code == 413  # the service's bound
    assert alice.post("/v2/orders", content=b" " * 200_000, headers=kinds).status_code == 413  # the gateway's
    for path in ("/v2/products", "/v2/products/1", f"/v2/users/{ALICE}", f"/v2/orders/{uuid4()}"):
        assert re.fullmatch(r'"route";r=\d+;t=\d+', alice.get(path).headers["ratelimit"]), path
    (one, eager), (other, calm) = someone(stack, strict), someone(stack, strict)
    with eager, calm:
        answers = [eager.get(f"/v2/users/{one}") for _ in range(6)]
        assert [answer.status_code for answer in answers] == [200] * 5 + [429]
        assert refused(answers)
        assert calm.get(f"/v2/users/{other}").status_code == 200


def test_api5_broken_function_level_authorization(
    stack: Stack, anyone: httpx.Client, alice: httpx.Client, user: httpx.Client
) -> None:
    """A route asks for its scope; reading is not writing, charging is for none of them, and what is for the platform is
    not there."""
    with sign_in(stack.urls, ALICE, scope="orders:read users:read") as reader:
        tag = reader.get(f"/v2/users/{ALICE}").headers["etag"]
        for answer in (
            reader.post("/v2/orders", json=an_order(ALICE)),
            reader.patch(f"/v2/users/{ALICE}", json={"name": "x"}, headers={"If-Match": tag}),
        ):
            assert (answer.status_code, kind(answer)) == (403, "missing-scope")
            assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]
    charge = {"order_id": str(uuid4()), "amount_cents": 1, "currency": "EUR"}
    for client, status in ((anyone, 401), (alice, 403), (user, 403)):
        token = {name: value for name, value in client.headers.items() if name == "authorization"}
        for method in ("POST", "DELETE"):
            where = f"{stack.urls['payments']}/v1/charges" + (f"/{charge['order_id']}" if method == "DELETE" else "")
            body = {"json": charge} if method == "POST" else {}
            assert httpx.request(method, where, headers=token, timeout=15, **body).status_code == status
    with sign_in(stack.urls, ALICE, scope="") as powerless:
        assert powerless.get(f"/v2/users/{ALICE}").status_code == 403
        for method, path in (("GET", "/internal/faults"), ("DELETE", "/internal/faults"), ("GET", "/metrics")):
            assert powerless.request(method, path).status_code == 404
        for method in ("DELETE", "PUT", "POST"):
            assert powerless.request(method, f"/v2/users/{ALICE}").status_code == 405


def test_api6_unrestricted_access_to_sensitive_business_flows(alice: httpx.Client, sql: Sql) -> None:
    """Buying is bounded in size, cannot be repeated by accident, and sells no more than there is."""
    product = 9  # scarce on purpose
    before = sql("SELECT stock FROM products WHERE id = $1", product)[0]["stock"]
    answer = alice.post("/v2/orders", json=an_order(ALICE, product, before + 1))
    assert (answer.status_code, kind(answer)) == (409, "out-of-stock")
    key = {"Idempotency-Key": str(uuid4())}
    orders = {alice.post("/v2/orders", json=an_order(ALICE, 801), headers=key).json()["id"] for _ in range(5)}
    assert len(orders) == 1
    assert sql("SELECT stock FROM products WHERE id = $1", product)[0]["stock"] == before


def test_api6_who_buys_by_machine_is_slowed_down_and_may_still_look(stack: Stack, strict: str) -> None:
    """Purchases have a quota of their own, below that of the other routes."""
    user_id, machine = someone(stack, strict)
    with machine:
        bought = [machine.post("/v2/orders", json=an_order(user_id, 803)) for _ in range(3)]
        assert [answer.status_code for answer in bought] == [201, 201, 429]
        assert refused(bought)
        assert machine.get(bought[0].headers["location"]).status_code == 200


def test_api7_server_side_request_forgery(alice: httpx.Client, anyone: httpx.Client) -> None:
    """No route takes an address; what a caller says about hosts goes into no answer and no request of ours."""
    document = anyone.get("/openapi.json").json()
    names = set(re.findall(r'"name": ?"([^"]+)"', json.dumps(document["paths"]))) | {
        name for schema in document["components"]["schemas"].values() for name in schema.get("properties", {})
    }
    assert not [name for name in names if re.search(r"url|uri|host|callback|webhook|redirect", name, re.IGNORECASE)]
    lies = {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "gopher", "Forwarded": "host=evil.example"}
    answer = alice.post("/v2/orders", json=an_order(ALICE), headers={**lies, "Host": "evil.example"})
    assert answer.headers["location"].startswith("/v2/orders/")
    assert "evil" not in str(answer.headers) + answer.text
    with nonsense(b"{}") as elsewhere:
        where = {"kid": "theirs", "jku": f"{elsewhere}/jwks", "x5u": f"{elsewhere}/x5u"}
        key, claims = (
            generate_private_key(SECP256R1()),
            {"iss": elsewhere, "sub": "1", "aud": "signalbox", "exp": 2**33},
        )
        token = jwt.encode(claims, key, "ES256", headers=where)
        for header in (f"Bearer {token}", f"Bearer {elsewhere}"):
            assert anyone.get("/v2/users/1", headers={**lies, "authorization": header}).status_code == 401
        assert elsewhere.asked == []


def test_api8_security_misconfiguration(
    stack: Stack, addresses: Addresses, anyone: httpx.Client, alice: httpx.Client
) -> None:
    """Errors say nothing of the inside, no header names software, no foreign page may read, odd methods are refused,
    and nobody gets at the data without its password."""
    answers = [
        anyone.get("/v2/products/none"),
        anyone.get("/v2/%00%ff"),
        anyone.request("TRACE", "/v2/products"),
        anyone.request("PROPFIND", "/v2/products"),
        anyone.get("/v2/products", headers={"Origin": "https://evil.example"}),
        anyone.options(
            "/v2/products", headers={"Origin": "https://evil.example", "Access-Control-Request-Method": "GET"}
        ),
    ]
    assert [answer.status_code for answer in answers] == [422, 404, 405, 405, 200, 405]
    for answer in answers:
        assert not re.search(r"Traceback|File \"|asyncpg|sqlalchemy|pydantic", answer.text)
        assert not {"server", "x-powered-by", "access-control-allow-origin"} & set(answer.headers)
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert alice.get(f"/v2/users/{ALICE}").headers["cache-control"] == "private, no-cache"
    for hidden in ("/metrics", "/internal/faults", "/readyz", "/config/", "/debug/pprof/", "/.env", "/.git/config"):
        assert anyone.get(hidden).status_code == 404, hidden
    with socket.create_connection(("127.0.0.1", 16379 + stack.port_offset), timeout=5) as valkey:
        valkey.sendall(b"PING\r\n")
        assert valkey.recv(100).startswith(b"-NOAUTH")
    for password in ("", "signalbox", "postgres"):
        with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
            asyncio.run(asyncpg.connect(addresses.dsn(), password=password, timeout=10))


def test_api9_improper_inventory_management(stack: Stack, anyone: httpx.Client, user: httpx.Client) -> None:
    """What answers is described, what ends says so, and no other version or path is there."""
    paths = anyone.get("/openapi.json").json()["paths"]
    assert {path.split("/")[1] for path in paths} == {"v1", "v2"}
    assert {path[3:] for path in paths if path.startswith("/v1")} == {
        path[3:] for path in paths if path.startswith("/v2")
    }
    old = user.get("/v1/products/1").headers
    assert old["deprecation"].startswith("@")
    assert parsedate_to_datetime(old["sunset"]) > datetime.now(UTC), "version 1 has ended and answers still"
    assert not {"deprecation", "sunset"} & set(user.get("/v2/products/1").headers)
    for path in (
        "/v0/products",
        "/v3/products",
        "/products",
        "/beta/products",
        "/v1/charges",
        "/v2/charges",
        "/v2/admin",
        "/token",
        "/jwks",
        "/development/user-token",
    ):
        assert user.get(path).status_code == 404, path


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (b"<script>hunter2</script>", 200),
        (b"[" * 100_000, 200),
        (b'{"id": "hunter2", "order_id": "another", "amount_cents": 1, "currency": "EUR", "status": "captured"}', 201),
        (b"hunter2", 302),
        (b"hunter2", 500),
    ],
    ids=["no JSON", "deep JSON", "another order", "elsewhere", "failed"],
)
def test_api10_unsafe_consumption_of_apis(
    stack: Stack, addresses: Addresses, sql: Sql, tmp_path: Path, said: bytes, status: int
) -> None:
    """A payments service that answers something else is not believed, and not followed: nothing is ordered."""
    with (
        nonsense(b"{}") as elsewhere,
        nonsense(said, status, {"location": f"{elsewhere}/v1/charges"}) as payments,
        run_api(stack, addresses, tmp_path / "api.log", PAYMENTS_URL=payments) as api,
    ):
        before = sql("SELECT count(*) AS n FROM orders WHERE user_id = $1", ALICE)[0]["n"]
        answer = api.http.post("/v2/orders", json=an_order(ALICE, 802))
        assert (answer.status_code, kind(answer)) == (503, "payment-unavailable")
        assert "hunter2" not in answer.text + str(answer.headers)
        assert payments.asked
        assert elsewhere.asked == []
        assert sql("SELECT count(*) AS n FROM orders WHERE user_id = $1", ALICE)[0]["n"] == before
