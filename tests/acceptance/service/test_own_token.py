"""Payments believes nobody without a token for charges; and an issuer that is away takes no order down."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import httpx

from tests.acceptance.backends import eventually
from tests.acceptance.conftest import sign_in
from tests.acceptance.service.conftest import Addresses, free_port, run_api, run_service
from tests.conftest import Stack


def test_the_stacks_payments_takes_nothing_from_strangers_or_users(stack: Stack) -> None:
    order = str(uuid4())
    charge = {"order_id": order, "amount_cents": 100, "currency": "EUR"}
    with (
        sign_in(stack.urls) as service,
        sign_in(stack.urls, 17) as user,
        httpx.Client(base_url=stack.urls["payments"], timeout=10) as payments,
    ):
        known = {str(one.headers["authorization"]): 403 for one in (service, user)}
        for authorization, status in {"": 401, "Bearer guessed": 401, **known}.items():
            headers = {"authorization": authorization} if authorization else {}
            assert payments.post("/v1/charges", json=charge, headers=headers).status_code == status
            assert payments.delete(f"/v1/charges/{order}", headers=headers).status_code == status


def test_orders_go_on_while_the_issuer_is_away_and_after_it_has_begun_anew(
    stack: Stack, addresses: Addresses, tmp_path: Path
) -> None:
    """A restarted issuer has other keys: payments that was restarted as well believes the old token no more."""
    issuer_port, payments_port = free_port(), free_port()
    issuer = f"http://127.0.0.1:{issuer_port}"
    ours = {"ISSUER_URL": issuer, "PAYMENTS_URL": f"http://127.0.0.1:{payments_port}"}
    strict = {**ours, "SIGN_IN": "required"}

    with run_api(stack, addresses, tmp_path / "api.log", **ours) as api:

        def order() -> int:
            body = {"user_id": 17, "items": [{"product_id": 530, "quantity": 1}]}
            return api.http.post("/v1/orders", json=body).status_code

        with run_service(stack, addresses, tmp_path / "issuer.log", "issuer", issuer_port, **ours) as first:
            with run_service(stack, addresses, tmp_path / "payments.log", "payments", payments_port, **strict):
                assert order() == 201
                first.kill()
                assert [order() for _ in range(10)] == [201] * 10
            with (
                run_service(stack, addresses, tmp_path / "again.log", "issuer", issuer_port, **ours),
                run_service(stack, addresses, tmp_path / "new.log", "payments", payments_port, **strict),
            ):
                eventually(lambda: order() == 201, "orders with another token", within_s=10)
                assert [order() for _ in range(10)] == [201] * 10
        assert api.counter('own_token_fetches_total{outcome="good"}') == 2
