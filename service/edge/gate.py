"""The gate: what every route asks before it does anything. Who is it, may they, and not too often?

Owns the order of the questions and their refusals. How a token is verified is ``SignIn``'s business, how requests are
counted is ``RateLimits``'; what belongs to whom is asked by the routes, which know the object.

    router = APIRouter(route_class=GatedRoute)
    @router.get("/{order_id}")
    async def get_order(order_id: UUID, caller: Caller = gate.needs("orders:read")): ...
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from enum import StrEnum
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol

from fastapi import Depends, Response, Security
from fastapi.openapi.models import HTTPBearer
from fastapi.routing import APIRoute
from fastapi.security.base import SecurityBase
from starlette.requests import Request

from service import telemetry
from service.edge.answers import note_headers
from service.edge.caller import ANY_USER, Caller
from service.errors import ServiceError

if TYPE_CHECKING:
    from service.edge.ratelimit import RateLimits  # and Valkey's client, which payments has no use for

# A browser's or a proxy's cache may keep what anybody may read, and nobody else's; both ask whether it still holds.
_OPEN_CACHING = [(b"cache-control", b"no-cache"), (b"vary", b"authorization")]
_PRIVATE_CACHING = [(b"cache-control", b"private, no-cache"), (b"vary", b"authorization")]


_CALLER = "signalbox.caller"  # in the scope of a request that has passed its gate


class Refusal(StrEnum):
    """Why nobody is signed in. For metrics, spans and lines; the caller is told less."""

    NO_TOKEN = "no-token"
    NO_BEARER = "no-bearer"  # another scheme, or nothing after it
    MALFORMED = "malformed"  # no token at all, or longer than any
    ALGORITHM = "algorithm"  # one that we do not name, or no key named
    UNKNOWN_KEY = "unknown-key"
    SIGNATURE = "signature"
    EXPIRED = "expired"
    TOO_EARLY = "too-early"
    ISSUER = "issuer"
    AUDIENCE = "audience"
    CLAIM = "claim"  # one is missing, or of the wrong kind


class Unauthenticated(ServiceError):
    """Nobody is signed in, or the token is not valid."""

    status = HTTPStatus.UNAUTHORIZED
    kind = "unauthenticated"

    def __init__(self, detail: str, reason: Refusal, error: str | None = None) -> None:
        super().__init__(detail)
        self.reason = reason
        told = 'Bearer realm="signalbox"' + (f', error="{error}"' if error else "")
        self.headers = {"WWW-Authenticate": told}


class MissingScope(ServiceError):
    """The token is valid, but not for this."""

    status = HTTPStatus.FORBIDDEN
    kind = "missing-scope"

    def __init__(self, scope: str) -> None:
        super().__init__(f"the token lacks the scope {scope}")
        self.headers = {"WWW-Authenticate": f'Bearer realm="signalbox", error="insufficient_scope", scope="{scope}"'}


class NoUser(ServiceError):
    """The token is valid, but of no user of ours, and not of a service that acts for users."""

    status = HTTPStatus.FORBIDDEN
    kind = "no-user"

    def __init__(self) -> None:
        super().__init__(f"the token names no user of this service, and lacks the scope {ANY_USER}")


class TooManyRequests(ServiceError):
    """The client has used up its quota for this route."""

    status = HTTPStatus.TOO_MANY_REQUESTS
    kind = "too-many-requests"

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"too many requests: try again in {retry_after_s} s")
        self.headers = {"Retry-After": str(retry_after_s)}


class SignIn(Protocol):
    """Who knows whose a token is."""

    async def authenticate(self, token: str) -> Caller:
        """The caller whom ``token`` was issued to. Raises ``Unauthenticated`` or an ``Unavailable``."""
        ...


class Gate:
    """``sign_in`` None: nobody has to sign in, and everybody may do everything (never in production). ``limits`` None:
    callers are services of ours, which are not counted."""

    def __init__(self, limits: RateLimits | None, sign_in: SignIn | None) -> None:
        self._limits = limits
        self._sign_in = sign_in
        for reason in Refusal:  # they exist at zero, so that a first refusal is seen as an increase
            telemetry.metrics.problems.labels(Unauthenticated.kind, reason)

    def open(self) -> Any:
        """Dependency of a route for everybody."""
        return Depends(_Passage(self, None))

    def needs(self, scope: str, *, for_users: bool = True) -> Any:
        """Dependency of a route for callers whose token has ``scope``; its value is the ``Caller``.

        ``for_users``: what the route gives belongs to a user, so the caller has to be one, or to act for all.
        """
        passage = _Passage(self, scope, for_users=for_users)
        return Security(passage, scopes=[scope]) if self._sign_in else Depends(passage)

    async def admit(self, request: Request, scope: str | None, *, for_users: bool) -> Caller:
        """The caller, counted. Raises ``TooManyRequests``, ``Unauthenticated``, ``MissingScope``, ``NoUser``."""
        refusal: ServiceError | None = None
        try:
            caller = await self._identify(request, required=scope is not None)
            if scope is not None and scope not in caller.scopes and self._sign_in:
                refusal = MissingScope(scope)
            elif for_users and caller.user_id is None and ANY_USER not in caller.scopes:
                refusal = NoUser()
        except Unauthenticated as error:  # who guesses tokens is counted as well
            caller, refusal = Caller(_address(request)), error
        if self._limits is not None:
            await self._count(self._limits, request, caller)
        if refusal is not None:
            raise refusal
        note_headers(request.scope, _OPEN_CACHING if scope is None else _PRIVATE_CACHING)
        return caller

    async def _count(self, limits: RateLimits, request: Request, caller: Caller) -> None:
        route = f"{request.method} {request.scope['route'].path}"
        decision = await limits.count(route, caller.subject)
        note_headers(request.scope, decision.headers(limits.policy(route)))
        if not decision.allowed:
            raise TooManyRequests(decision.reset_s)

    async def _identify(self, request: Request, *, required: bool) -> Caller:
        if self._sign_in is None:
            return Caller(_address(request), frozenset({ANY_USER}))
        given = request.headers.get("authorization")
        if given is None:
            if required:
                raise Unauthenticated("this needs a bearer token", Refusal.NO_TOKEN)
            return Caller(_address(request))
        scheme, _, token = given.partition(" ")
        if scheme.lower() != "bearer" or not token:
            said = "the authorization header holds no bearer token"
            raise Unauthenticated(said, Refusal.NO_BEARER, "invalid_request")
        return await self._sign_in.authenticate(token.strip())


class _Passage(SecurityBase):
    """One route's question to the gate; being a security scheme, it also shows in the OpenAPI document."""

    def __init__(self, gate: Gate, scope: str | None, *, for_users: bool = False) -> None:
        self.model = HTTPBearer(bearerFormat="JWT", description="An access token of the configured issuer.")
        self.scheme_name = "bearer"
        self._gate = gate
        self._scope = scope
        self._for_users = for_users

    async def __call__(self, request: Request) -> Caller:
        if _CALLER not in request.scope:
            request.scope[_CALLER] = await self._gate.admit(request, self._scope, for_users=self._for_users)
        caller: Caller = request.scope[_CALLER]
        return caller


class GatedRoute(APIRoute):
    """A route whose gate is asked before the body is read: whoever may not pass, or not so often, is told so, and not
    what is wrong with what he sent. FastAPI by itself reads bodies before it asks dependencies.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        passage = next((one.call for one in self.dependant.dependencies if isinstance(one.call, _Passage)), None)
        if passage is None:
            return handle

        async def gated(request: Request) -> Response:
            await passage(request)
            return await handle(request)

        return gated


def _address(request: Request) -> str:
    """The caller's address as the trusted gateway told it."""
    return f"address:{request.client.host}" if request.client else "address:unknown"
