"""The development issuer over HTTP: discovery, keys, client credentials, and a token for any user who is asked for.

The last is what makes it one for development only: whoever reaches it can be anybody. It listens on loopback, and
production refuses to believe it (``service.settings``).
"""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Collection
from typing import Annotated
from urllib.parse import parse_qs, unquote

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from service.edge.pagination import MAX_ID
from service.errors import problem_responses
from service.issuer.keys import ALGORITHM, SigningKeys

TOKEN_TTL_S = 3600
LONG_TTL_S = 24 * 3600
# What users' tokens have, what a token for whoever asks may have, and what our own client's.
USER_SCOPES = ("users:read", "users:write", "orders:read", "orders:write")
SCOPES = (*USER_SCOPES, "any-user")
CLIENT_SCOPES = ("charges:write",)


class UserTokenIn(BaseModel):
    """Whose token. Fewer scopes than a user has may be asked for, to see what is refused then."""

    model_config = ConfigDict(extra="forbid")

    user_id: Annotated[int, Field(ge=1, le=MAX_ID)]
    scope: str = " ".join(USER_SCOPES)
    ttl_s: Annotated[int, Field(ge=-3600, le=LONG_TTL_S)] = TOKEN_TTL_S


class TokenRefused(BaseModel):
    """Why there is no token (RFC 6749, 5.2)."""

    error: str


# Read by hand: a parser for forms would be a package more, for this route alone.
_TOKEN_FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "application/x-www-form-urlencoded": {
                "schema": {
                    "type": "object",
                    "required": ["grant_type"],
                    "properties": {
                        "grant_type": {"const": "client_credentials"},
                        **{name: {"type": "string"} for name in ("client_id", "client_secret", "scope")},
                    },
                }
            }
        },
    }
}


class TokenOut(BaseModel):
    """An access token (RFC 6749, 5.1)."""

    access_token: str
    token_type: str = "Bearer"
    expires_in: int
    scope: str


def build_router(keys: SigningKeys, issuer: str, audience: str, client: tuple[str, str]) -> APIRouter:
    """All of the issuer's routes. ``client``: id and secret of the one client, which is the service itself."""
    router = APIRouter(tags=["issuer"])
    base = issuer.removesuffix("/")
    ours = [one.encode() for one in client]

    def token(subject: str, scope: str, allowed: Collection[str] = SCOPES, ttl_s: int = TOKEN_TTL_S) -> TokenOut:
        granted = " ".join(word for word in scope.split() if word in allowed)
        claims = {"iss": issuer, "aud": audience, "sub": subject, "scope": granted, "jti": secrets.token_hex(8)}
        return TokenOut(access_token=keys.sign(claims, ttl_s), expires_in=ttl_s, scope=granted)

    @router.get("/.well-known/openid-configuration")
    async def discovery() -> dict[str, object]:
        """Where everything is."""
        return {
            "issuer": issuer,
            "jwks_uri": f"{base}/jwks",
            "token_endpoint": f"{base}/token",
            "grant_types_supported": ["client_credentials"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "id_token_signing_alg_values_supported": [ALGORITHM],
            "scopes_supported": [*SCOPES, *CLIENT_SCOPES],
        }

    @router.get("/jwks")
    async def jwks() -> dict[str, object]:
        """The keys that tokens are checked against."""
        return keys.published()

    @router.post(
        "/token",
        response_model=TokenOut,
        responses={**problem_responses(), 400: {"model": TokenRefused}, 401: {"model": TokenRefused}},
        openapi_extra=_TOKEN_FORM,
    )
    async def client_credentials(request: Request) -> TokenOut | Response:
        """A service's token for its own sake (RFC 6749, 4.4)."""
        form = {name: values[0] for name, values in parse_qs((await request.body()).decode("latin-1")).items()}
        given = _credentials(request.headers.get("authorization", ""), form)
        if not all(secrets.compare_digest(*both) for both in zip(map(str.encode, given), ours, strict=True)):
            return _refuse("invalid_client", 401)
        if form.get("grant_type") != "client_credentials":
            return _refuse("unsupported_grant_type", 400)
        return token(f"client:{client[0]}", form.get("scope", " ".join(CLIENT_SCOPES)), CLIENT_SCOPES)

    @router.post("/development/user-token", responses=problem_responses())
    async def user_token(body: UserTokenIn) -> TokenOut:
        """A token as if this user had signed in. Development only: nobody is asked for a password."""
        return token(str(body.user_id), body.scope, ttl_s=body.ttl_s)

    @router.post("/development/service-token")
    async def service_token() -> TokenOut:
        """A day's token of a service that may act for all users, for load, probes and tests. Development only."""
        return token("development", " ".join(SCOPES), ttl_s=LONG_TTL_S)

    @router.post("/development/rotate")
    async def rotate() -> dict[str, str]:
        """Sign with a new key from now on."""
        return {"kid": keys.rotate()}

    return router


def _credentials(authorization: str, form: dict[str, str]) -> tuple[str, str]:
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return form.get("client_id", ""), form.get("client_secret", "")
    try:
        client, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return unquote(client), unquote(secret)


def _refuse(error: str, status: int) -> Response:
    return Response(f'{{"error":"{error}"}}', status, {"cache-control": "no-store"}, "application/json")
