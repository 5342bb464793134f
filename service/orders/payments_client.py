"""Payments as the api and the worker see it, over HTTP. Owns time-outs, retries, and what an answer means."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from http import HTTPStatus
from time import monotonic
from uuid import UUID

import httpx2

from service import deadline
from service.deadline import DeadlineExceeded
from service.faults import BLIND_RETRIES, PAYMENTS_DETOUR, scope_headers, struck
from service.json_answers import read_json
from service.orders.model import PaymentRefused, PaymentUnavailable
from service.orders.naive_client import charge_blindly
from service.outbound import Breaker, CircuitOpen, RetryBudget
from service.own_token import OwnToken, TokenUnavailable

# The whole of it, retry included. A customer waits for this.
DEADLINE_S = 2.0
CONNECT_TIMEOUT_S = 0.5
# Left of the request's budget for what has to be done after payments answered, or did not.
RESERVE_S = 0.5
# Before a second try: long enough for a process that is being replaced, and not in step with everybody else.
PAUSE_S = 0.05


def build_payments_client(base_url: str, *, pool_size: int) -> httpx2.AsyncClient:
    """An HTTP client with a pool of connections that are kept open."""
    return httpx2.AsyncClient(
        base_url=base_url,
        timeout=httpx2.Timeout(DEADLINE_S, connect=CONNECT_TIMEOUT_S),
        limits=httpx2.Limits(max_connections=pool_size, max_keepalive_connections=pool_size, keepalive_expiry=30),
    )


class HttpPayments:
    """Charges through the payments service, as whom ``token`` says; None: as nobody, where nobody has to sign in."""

    def __init__(self, client: httpx2.AsyncClient, token: OwnToken | None = None) -> None:
        self._client = client
        self._own = token
        self._breaker = Breaker("payments")
        self._retries = RetryBudget("payments")

    async def charge(self, order_id: UUID, amount_cents: int, currency: str) -> None:
        """Charge for an order, once however often it is asked.

        Raises ``PaymentRefused``, ``PaymentUnavailable``, or ``DeadlineExceeded`` when the caller has no time left.
        """
        body = {"order_id": str(order_id), "amount_cents": amount_cents, "currency": currency}
        if retries := struck(BLIND_RETRIES):
            headers = _bearer(await self._token())
            return await charge_blindly(self._client, body, attempts=retries.attempts, headers=headers)
        await self._ask("POST", "/v1/charges", body, _confirms(body))

    async def cancel(self, order_id: UUID) -> None:
        """Refund what was charged for an order, and have nothing charged any more. Raises ``PaymentUnavailable``."""
        await self._ask("DELETE", f"/v1/charges/{order_id}")

    async def _ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        confirms: Callable[[httpx2.Response], bool] = lambda _: True,
    ) -> None:
        token = await self._token()  # outside the circuit: an issuer that is away says nothing of payments
        try:
            with self._breaker.call(PaymentUnavailable):
                answer = await self._answer(method, path, body, token)
                if not confirms(answer):
                    raise PaymentUnavailable("payments answered something else than it was asked")
        except CircuitOpen as error:
            raise PaymentUnavailable("payments fails at the moment and was not asked") from error

    async def _token(self) -> str | None:
        try:
            return await self._own.get() if self._own else None
        except TokenUnavailable as error:
            raise PaymentUnavailable("there is no token to ask payments with") from error

    async def _answer(
        self, method: str, path: str, body: Mapping[str, object] | None, token: str | None
    ) -> httpx2.Response:
        left_s = deadline.left_s(at_most=DEADLINE_S + RESERVE_S) - RESERVE_S
        if left_s <= 0:
            raise DeadlineExceeded("there is no time left to ask payments")
        due = monotonic() + left_s
        try:
            async with asyncio.timeout(left_s):
                response = await self._send(method, path, body, token, due)
                # Its key was withdrawn, or the issuer began anew: one more try, with another token.
                if response.status_code == HTTPStatus.UNAUTHORIZED and self._own and token and self._retries.take():
                    self._own.refuse(token)
                    response = await self._send(method, path, body, await self._token(), due)
        except (TimeoutError, httpx2.TimeoutException) as error:
            said = f"payments did not answer within {left_s:.1f} s"
            # A caller in a hurry says nothing about payments.
            raise (PaymentUnavailable(said) if left_s >= DEADLINE_S else DeadlineExceeded(said)) from error
        except httpx2.TransportError as error:
            raise PaymentUnavailable("payments cannot be reached") from error
        if response.status_code == HTTPStatus.PAYMENT_REQUIRED:
            raise PaymentRefused("the payment was refused")
        if not response.is_success:
            raise PaymentUnavailable(f"payments answered {response.status_code}")
        return response

    async def _send(
        self, method: str, path: str, body: Mapping[str, object] | None, token: str | None, due: float
    ) -> httpx2.Response:
        def headers() -> dict[str, str]:
            left_ms = max(0, int((due - monotonic()) * 1000))
            return {**scope_headers(), **_bearer(token), deadline.HEADER: str(left_ms)}

        if detour := struck(PAYMENTS_DETOUR):
            path = detour.url + path
        self._retries.earn()
        try:
            return await self._client.request(method, path, json=body, headers=headers())
        except httpx2.TimeoutException:
            raise
        except httpx2.TransportError:
            # A kept connection that the other side closed meanwhile, or a process that was just replaced. The order
            # is the key of the charge, so asking a second time is safe even when the first was heard.
            if not self._retries.take():
                raise
            await asyncio.sleep(PAUSE_S * random.uniform(0.5, 1.5))
            return await self._client.request(method, path, json=body, headers=headers())


def _bearer(token: str | None) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"} if token else {}


def _confirms(asked: Mapping[str, object]) -> Callable[[httpx2.Response], bool]:
    """Whether an answer says that what was asked has been charged; a status alone is not believed."""

    def confirms(answer: httpx2.Response) -> bool:
        try:
            told = read_json(answer)
        except ValueError:
            return False
        return isinstance(told, dict) and all(told.get(name) == value for name, value in asked.items())

    return confirms
