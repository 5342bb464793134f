"""How long the work at hand may still take, and how that travels.

Every request has a budget, and so has every delivery of a job. When it is used up, whatever is being waited for is
given up: a statement is cancelled on the server, a connection is let go. What calls another process passes on what is
left, so nobody works on an answer that nobody waits for any more.

Over HTTP it travels as ``x-request-timeout-ms``, a duration, as gRPC does it, because the clocks of two machines never
agree. A caller may shorten the budget of a request; nobody can lengthen it. Owns the budget, its header and the ASGI
middleware that keeps it. Knows nothing of what the time is spent on.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable
from contextvars import ContextVar, Token
from http import HTTPStatus
from time import monotonic

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import telemetry
from service.errors import ServiceError, problem_response

HEADER = "x-request-timeout-ms"

_RAW_HEADER = HEADER.encode()
_MILLISECONDS = re.compile(rb"[0-9]{1,7}").fullmatch

_due: ContextVar[float | None] = ContextVar("deadline", default=None)


class DeadlineExceeded(ServiceError):
    """There is no time left for what was asked."""

    status = HTTPStatus.GATEWAY_TIMEOUT
    kind = "deadline-exceeded"


def begin(budget_s: float) -> Token[float | None]:
    """Give the work that starts here ``budget_s`` seconds; ``end`` takes the token."""
    return _due.set(monotonic() + budget_s)


def end(token: Token[float | None]) -> None:
    """The work that ``begin`` gave a budget is over."""
    _due.reset(token)


def left_s(at_most: float) -> float:
    """Seconds that a call may take now: what is left of the budget, ``at_most`` where there is more or none is set.

    Raises ``DeadlineExceeded`` when nothing is left.
    """
    due = _due.get()
    if due is None:
        return at_most
    left = due - monotonic()
    if left <= 0:
        telemetry.metrics.deadline_exceeded.labels("call").inc()
        raise DeadlineExceeded("there is no time left to ask anybody else")
    return min(left, at_most)


class DeadlineMiddleware:
    """Ends a request whose budget is used up, with a problem where no answer has begun yet."""

    def __init__(self, app: ASGIApp, budget_s: float) -> None:
        self._app = app
        self._budget_s = budget_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        def send_on(message: Message) -> Awaitable[None]:  # not a coroutine of its own: it would be one a message
            nonlocal begun
            begun = True
            return send(message)

        budget_s = _shortened(scope, self._budget_s)
        timeout = asyncio.timeout(budget_s)
        token = begin(budget_s)
        try:
            async with timeout:
                await self._app(scope, receive, send_on)
        except TimeoutError:
            if begun or not timeout.expired():
                raise
            telemetry.metrics.deadline_exceeded.labels("request").inc()
            said = f"the request could not be answered within {budget_s:g} s"
            answer = problem_response(Request(scope), DeadlineExceeded.status, DeadlineExceeded.kind, said)
            await answer(scope, receive, send)
        finally:
            end(token)


def _shortened(scope: Scope, budget_s: float) -> float:
    for name, value in scope["headers"]:
        if name == _RAW_HEADER and _MILLISECONDS(value):
            return min(budget_s, int(value) / 1000)
    return budget_s
