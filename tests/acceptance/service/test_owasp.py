"""The OWASP API Security Top 10 (2023), each tried at the running stack's front door."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

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
    hidden, missing = bob.get(where), bob.get(f"/v2/orders/{uuid4()}")
    assert (hidden.status_code, kind(hidden)) == (missing.status_code, kind(missing)) == (404, "order-not-found")
    hidden, missing = bob.get(f"/v2/users/{ALICE}"), bob.get("/v2/users/999999999")
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
    forgeries = [
        jwt.encode(claims, None, "none", headers=named),
        jwt.encode(claims, "guessed" * 6, "HS256", headers=named),
        jwt.encode(claims, generate_private_key(SECP256R1()), "ES256", headers=named),
        token[:-8] + ("AAAAAAAA" if not token.endswith("AAAAAAAA") else "BBBBBBBB"),
    ]
    for authorization in (
        None,
        "Basic YWRhOmFkYQ==",
        "Bearer",
        *(f"Bearer {forged}" for forged in forgeries),
    ):
        headers = {"authorization": authorization} if authorization else {}
        answer = anyone.get(f"/v2/users/{ALICE}", headers=headers)
        assert (answer.status_code, kind(answer)) == (401, "unauthenticated"), authorization
        assert answer.headers["www-authenticate"].startswith("Bearer ")
    with sign_in(stack.urls, ALICE, ttl_s=-120) as late:
        assert late.get(f"/v2/users/{ALICE}").json()["detail"] == "the token has expired"
    assert alice.get(f"/v2/users/{ALICE}").status_code == 200


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


def test_api4_unrestricted_resource_consumption(alice: httpx.Client) -> None:
    """Every size has a bound, and every route a quota that it tells."""
    refused = {
        alice.get("/v2/products", params={"limit": 101}).status_code,
        alice.post("/v2/orders", json=an_order(ALICE, quantity=101)).status_code,
        alice.post("/v2/orders", json={"user_id": ALICE, "items": [*an_order(ALICE)["items"]] * 21}).status_code,
        alice.post("/v2/orders", content=b"[" * 10_000, headers={"content-type": "application/json"}).status_code,
    }
    assert refused <= {422, 400}
    kinds = {"content-type": "application/json"}
    assert alice.post("/v2/orders", content=b" " * 20_000, headers=kinds).status_code == 413  # the service's bound
    assert alice.post("/v2/orders", content=b" " * 200_000, headers=kinds).status_code == 413  # the gateway's
    for path in ("/v2/products", "/v2/products/1", f"/v2/users/{ALICE}", f"/v2/orders/{uuid4()}"):
        assert re.fullmatch(r'"route";r=\d+;t=\d+', alice.get(path).headers["ratelimit"]), path


def test_api5_broken_function_level_authorization(stack: Stack, anyone: httpx.Client) -> None:
    """A route asks for its scope; reading is not writing, and what is for the platform is not there."""
    with sign_in(stack.urls, ALICE, scope="orders:read users:read") as reader:
        tag = reader.get(f"/v2/users/{ALICE}").headers["etag"]
        for answer in (
            reader.post("/v2/orders", json=an_order(ALICE)),
            reader.patch(f"/v2/users/{ALICE}", json={"name": "x"}, headers={"If-Match": tag}),
        ):
            assert (answer.status_code, kind(answer)) == (403, "missing-scope")
            assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]
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


def test_api8_security_misconfiguration(stack: Stack, anyone: httpx.Client, alice: httpx.Client) -> None:
    """Errors say nothing of the inside, no header names software, no foreign page may read, odd methods are refused."""
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
    assert all(answer.status_code < 500 for answer in answers)
    for answer in answers:
        assert not re.search(r"Traceback|File \"|asyncpg|sqlalchemy|pydantic", answer.text)
        assert not {"server", "x-powered-by", "access-control-allow-origin"} & set(answer.headers)
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert alice.get(f"/v2/users/{ALICE}").headers["cache-control"] == "private, no-cache"
    for hidden in ("/metrics", "/internal/faults", "/readyz", "/config/", "/debug/pprof/", "/.env", "/.git/config"):
        assert anyone.get(hidden).status_code == 404, hidden


def test_api9_improper_inventory_management(stack: Stack, anyone: httpx.Client, user: httpx.Client) -> None:
    """What answers is described, what ends says so, and no other version or path is there."""
    paths = anyone.get("/openapi.json").json()["paths"]
    assert {path.split("/")[1] for path in paths} == {"v1", "v2"}
    assert {path[3:] for path in paths if path.startswith("/v1")} == {
        path[3:] for path in paths if path.startswith("/v2")
    }
    old = user.get("/v1/products/1").headers
    assert old["deprecation"].startswith("@")
    assert "sunset" in old
    for path in (
        "/v0/products",
        "/v3/products",
        "/products",
        "/beta/products",
        "/v1/charges",
        "/v2/charges",
        "/v2/admin",
    ):
        assert user.get(path).status_code == 404, path


def test_api10_unsafe_consumption_of_apis(stack: Stack, addresses: Addresses, sql: Sql, tmp_path: Path) -> None:
    """A payments service that answers something else is not believed: nothing is ordered, nothing passed on."""
    with (
        nonsense(b"<script>hunter2</script>") as payments,
        run_api(stack, addresses, tmp_path / "api.log", PAYMENTS_URL=payments) as api,
    ):
        before = sql("SELECT count(*) AS n FROM orders WHERE user_id = $1", ALICE)[0]["n"]
        answer = api.http.post("/v2/orders", json=an_order(ALICE, 802))
        assert (answer.status_code, kind(answer)) == (503, "payment-unavailable")
        assert "hunter2" not in answer.text
        assert sql("SELECT count(*) AS n FROM orders WHERE user_id = $1", ALICE)[0]["n"] == before
