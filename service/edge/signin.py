"""Signing in with OAuth 2 bearer tokens: JSON Web Tokens of one issuer, checked against its published keys.

Owns what makes a token valid: signed with a key of the issuer by an asymmetric algorithm that we name (never the one
that the token would like), meant for this service, not expired, and with a subject; and which claims say whose it is
and what for, since every issuer has others. Knows no route and no scope.

Keys come from the issuer's discovery document (OpenID Connect Discovery 1.0), are kept, and are asked for again when a
token names a key that is not among them, at most once in ``REFRESH_PAUSE_S`` whatever strangers send: a tighter limit
than a circuit breaker's. While the issuer is away, the keys that are known go on, and nobody who uses one waits for it.
A token that was verified is not verified again before ``REMEMBER_S``.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from time import monotonic, time
from typing import Any

import httpx2
import jwt
from jwt import PyJWK, PyJWKSet

from service import telemetry
from service.discovery import discover, get_json
from service.edge.caller import Caller
from service.edge.gate import Refusal, Unauthenticated
from service.errand import Errand
from service.errors import Unavailable

REFRESH_PAUSE_S = 5.0
# Also without an unknown key the set is read anew, so that a key which the issuer has withdrawn stops being believed.
MAX_AGE_S = 300.0
FETCH_TIMEOUT_S = 2.0
LEEWAY_S = 30  # clocks differ
# Verifying costs more than the rest of the gate; a client sends the same token again and again.
REMEMBER_S = 60.0
MOST_REMEMBERED = 10_000
LONGEST_TOKEN = 8_192

# All asymmetric: with a symmetric one, who knows the public key could sign.
ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA")


_REASONS: dict[type[Exception], Refusal] = {
    jwt.InvalidAlgorithmError: Refusal.ALGORITHM,
    jwt.InvalidSignatureError: Refusal.SIGNATURE,
    jwt.ImmatureSignatureError: Refusal.TOO_EARLY,
    jwt.InvalidIssuerError: Refusal.ISSUER,
    jwt.InvalidAudienceError: Refusal.AUDIENCE,
    jwt.MissingRequiredClaimError: Refusal.CLAIM,
    jwt.exceptions.InvalidSubjectError: Refusal.CLAIM,
    jwt.InvalidIssuedAtError: Refusal.CLAIM,
}


class IssuerUnavailable(Unavailable):
    """The issuer's keys are not known, and it does not answer."""

    kind = "issuer-unavailable"


class Keys:
    """The issuer's keys by their id. ``generation`` changes whenever they do."""

    def __init__(self, client: httpx2.AsyncClient, issuer: str) -> None:
        self._client = client
        self._issuer = issuer
        self._keys: dict[str, PyJWK] = {}
        self._fetched_at = -MAX_AGE_S
        self._errand = Errand(self._ask)
        self.generation = 0
        self._log = telemetry.logger(__name__)

    async def find(self, key_id: str) -> PyJWK:
        """The key with this id. Raises ``Unauthenticated`` when there is none, ``IssuerUnavailable``."""
        key = self._keys.get(key_id)
        if key is None or monotonic() - self._fetched_at > MAX_AGE_S:
            asking = self._errand.start(REFRESH_PAUSE_S)
            # Who only wants to know whether the key is still believed does not wait for an issuer that gave no answer.
            if asking is not None and (key is None or not self._errand.failed):
                await asyncio.shield(asking)
                key = self._keys.get(key_id)
        if key is None:
            self._need_some()
            said = "the token is signed with a key that is not known"
            raise Unauthenticated(said, Refusal.UNKNOWN_KEY, "invalid_token")
        return key

    async def ping(self) -> None:
        """Raise ``IssuerUnavailable`` as long as no key was ever read; once one was, the issuer may be away."""
        if not self._keys and (asking := self._errand.start(REFRESH_PAUSE_S)) is not None:
            await asyncio.shield(asking)
        self._need_some()

    def _need_some(self) -> None:
        if not self._keys:
            raise IssuerUnavailable("the issuer of tokens does not answer")

    async def _ask(self) -> bool:
        try:
            async with asyncio.timeout(FETCH_TIMEOUT_S):
                found = await self._fetch()
        except (httpx2.HTTPError, TimeoutError, ValueError, KeyError, jwt.PyJWTError) as error:
            telemetry.metrics.sign_in_key_fetches.labels("bad").inc()
            self._log.warning("the issuer's keys cannot be read: %s", type(error).__name__)
            return False
        telemetry.metrics.sign_in_key_fetches.labels("good").inc()
        self._keys, self._fetched_at = found, monotonic()
        self.generation += 1
        return True

    async def _fetch(self) -> dict[str, PyJWK]:
        document = await discover(self._client, self._issuer)
        keys = PyJWKSet.from_dict(await get_json(self._client, str(document["jwks_uri"]))).keys
        return {str(key.key_id): key for key in keys if key.key_id and key.key_type != "oct"}


@dataclass(frozen=True, slots=True)
class Claims:
    """Where a token's user and scopes stand.

    ``user`` names the claim that holds the id of a user of ours, as a number or its digits; whoever has another there,
    or none, is a service. ``scopes`` names claims that hold words, in one text (RFC 9068) or in a list.
    """

    user: str = "sub"
    scopes: tuple[str, ...] = ("scope",)

    def caller(self, told: dict[str, Any]) -> Caller:
        """Whose the token with these claims is."""
        user_id = _user_id(told.get(self.user))
        scopes = frozenset(word for name in self.scopes for word in _words(told.get(name)))
        return Caller(f"user:{user_id}" if user_id else f"service:{told['sub'][:100]}", scopes, user_id)


class TokenSignIn:
    """Knows whose a token is."""

    def __init__(self, client: httpx2.AsyncClient, issuer: str, audience: str, claims: Claims = Claims()) -> None:
        self._keys = Keys(client, issuer)
        self._issuer = issuer
        self._audience = audience
        self._claims = claims
        self._known: dict[str, tuple[Caller, float, int]] = {}  # token → caller, until (Unix time), generation of keys

    async def ping(self) -> None:
        """Raise ``IssuerUnavailable`` as long as nobody could be signed in."""
        await self._keys.ping()

    async def authenticate(self, token: str) -> Caller:
        """The caller whom ``token`` was issued to. Raises ``Unauthenticated``, or ``IssuerUnavailable``."""
        known = self._known.get(token)
        if known is not None and known[1] > time() and known[2] == self._keys.generation:
            return known[0]
        claims = await self._verify(token)
        caller = self._claims.caller(claims)
        self._known.pop(token, None)
        until = min(float(claims["exp"]), time() + REMEMBER_S)
        self._known[token] = (caller, until, self._keys.generation)
        if len(self._known) > MOST_REMEMBERED:
            del self._known[next(iter(self._known))]
        return caller

    async def _verify(self, token: str) -> dict[str, Any]:
        try:
            if len(token) > LONGEST_TOKEN:
                raise jwt.InvalidTokenError("too long")
            head = jwt.get_unverified_header(token)
            if head.get("alg") not in ALGORITHMS or not isinstance(head.get("kid"), str):
                raise jwt.InvalidAlgorithmError("another algorithm, or no key named")
            key = await self._keys.find(head["kid"])
            return jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name] if key.algorithm_name in ALGORITHMS else [],
                audience=self._audience,
                issuer=self._issuer,
                leeway=LEEWAY_S,
                options={"require": ["exp", "iat", "iss", "aud", "sub"]},
            )
        except jwt.ExpiredSignatureError as error:
            raise Unauthenticated("the token has expired", Refusal.EXPIRED, "invalid_token") from error
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:  # which it was is not the caller's
            reason = next((why for kind, why in _REASONS.items() if isinstance(error, kind)), Refusal.MALFORMED)
            raise Unauthenticated("the token is not valid", reason, "invalid_token") from error


def _user_id(value: object) -> int | None:
    """The id of a user: a number above zero; None for anything else."""
    digits = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    return (int(digits) or None) if digits.isascii() and digits.isdigit() and len(digits) <= 18 else None


def _words(value: object) -> list[str]:
    if isinstance(value, str):
        return value.split()
    return [word for word in value if isinstance(word, str)] if isinstance(value, list) else []
