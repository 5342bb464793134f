"""Payments as the api sees it, over HTTP. Owns time-outs, the one retry, and what an answer means."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from uuid import UUID

import httpx

from service.faults import scope_headers
from service.orders.model import PaymentRefused, PaymentUnavailable

# The whole of it, retry included. A customer waits for this.
DEADLINE_S = 2.0
CONNECT_TIMEOUT_S = 0.5


def build_payments_client(base_url: str, *, pool_size: int) -> httpx.AsyncClient:
    """An HTTP client with a pool of connections that are kept open."""
    return httpx.AsyncClient(
        base_url=base_url,
        timeout=httpx.Timeout(DEADLINE_S, connect=CONNECT_TIMEOUT_S),
        limits=httpx.Limits(max_connections=pool_size, max_keepalive_connections=pool_size, keepalive_expiry=30),
    )


class HttpPayments:
    """Charges through the payments service."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def charge(self, order_id: UUID, amount_cents: int, currency: str) -> None:
        """Charge for an order, once however often it is asked. Raises ``PaymentRefused``, ``PaymentUnavailable``."""
        body = {"order_id": str(order_id), "amount_cents": amount_cents, "currency": currency}
        try:
            async with asyncio.timeout(DEADLINE_S):
                response = await self._post(body)
        except (TimeoutError, httpx.TimeoutException) as error:
            raise PaymentUnavailable(f"payments did not answer within {DEADLINE_S:g} s") from error
        except httpx.TransportError as error:
            raise PaymentUnavailable("payments cannot be reached") from error
        if response.status_code == HTTPStatus.PAYMENT_REQUIRED:
            raise PaymentRefused("the payment was refused")
        if not response.is_success:
            raise PaymentUnavailable(f"payments answered {response.status_code}")

    async def _post(self, body: Mapping[str, object]) -> httpx.Response:
        headers = scope_headers()
        try:
            return await self._client.post("/v1/charges", json=body, headers=headers)
        except httpx.TimeoutException:
            raise
        except httpx.TransportError:
            # A kept connection that the other side closed meanwhile, or a process that was just replaced. The order
            # is the key of the charge, so asking a second time is safe even when the first was heard.
            return await self._client.post("/v1/charges", json=body, headers=headers)
