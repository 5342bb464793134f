"""An issuer that is not ours, told in settings alone: Keycloak, with its own names for users and clients."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from service.edge.signin import REFRESH_PAUSE_S
from tests.acceptance.backends import eventually
from tests.acceptance.service.conftest import Addresses, Process, run_api, run_service
from tests.acceptance.service.keycloak import HOME, USER_CLAIM, Keycloak, keycloak
from tests.conftest import Stack

pytestmark = [
    pytest.mark.skipif(not HOME, reason="SIGNALBOX_KEYCLOAK names no folder of an unpacked Keycloak"),
    pytest.mark.timeout(400),
]


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keycloak]:
    with keycloak(tmp_path_factory.mktemp("keycloak")) as one:
        yield one


@pytest.fixture(scope="module")
def shop(
    stack: Stack, addresses: Addresses, issuer: Keycloak, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Process]:
    """An api and a payments that believe this issuer and no other."""
    logs = tmp_path_factory.mktemp("shop")
    told = {"SIGN_IN": "required", "ISSUER_URL": issuer.issuer, "USER_CLAIM": USER_CLAIM}
    ours = {"CLIENT_ID": "shop-service", "CLIENT_SECRET": issuer.client_secret}
    with run_service(stack, addresses, logs / "payments.log", "payments", **told) as payments:
        where = {"PAYMENTS_URL": str(payments.http.base_url)}
        with run_api(stack, addresses, logs / "api.log", **told, **ours, **where) as api:
            yield api


def order(shop: Process, token: str, user_id: int) -> int:
    body = {"user_id": user_id, "items": [{"product_id": 540, "quantity": 1}]}
    headers = {"authorization": f"Bearer {token}"} if token else {}
    return shop.http.post("/v1/orders", json=body, headers=headers).status_code


def test_a_user_of_theirs_orders_for_himself_and_payments_believes_our_client(shop: Process, issuer: Keycloak) -> None:
    token = issuer.user_token("ada", "web")
    assert order(shop, token, 17) == 201
    assert order(shop, token, 18) in (403, 404)
    assert shop.counter('own_token_fetches_total{outcome="good"}') == 1


def test_who_has_no_scope_or_no_token_is_refused(shop: Process, issuer: Keycloak) -> None:
    assert order(shop, issuer.user_token("ada", "kiosk"), 17) == 403
    assert order(shop, "", 17) == 401
    assert order(shop, issuer.user_token("ada", "web")[:-4] + "AAAA", 17) == 401


def test_a_key_that_is_new_there_is_known_here_within_seconds(shop: Process, issuer: Keycloak) -> None:
    old = issuer.user_token("ada", "web")
    issuer.rotate_keys()
    new = issuer.user_token("ada", "web")
    assert old.split(".")[0] != new.split(".")[0], "the same key signed both"
    eventually(lambda: order(shop, new, 17) == 201, "the new key's being known", within_s=2 * REFRESH_PAUSE_S)
    assert order(shop, old, 17) == 201
