"""Who may sign in: holders of a token that the issuer signed, for us, and that is still good. Nobody else."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from time import monotonic, time
from typing import Any
from urllib.parse import quote

import httpx2
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from service.edge import signin
from service.edge.caller import ANY_USER, Caller
from service.edge.gate import Refusal, Unauthenticated
from service.edge.signin import Claims, IssuerUnavailable, TokenSignIn
from tests.unit.service.issuers import AUDIENCE, CLIENT, ISSUER, SECRET, Issuer

pytestmark = pytest.mark.anyio


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
async def sign_in(issuer: Issuer) -> AsyncIterator[TokenSignIn]:
    async with httpx2.AsyncClient(transport=issuer) as client:
        yield TokenSignIn(client, ISSUER, AUDIENCE)


async def test_a_user_and_a_service_are_told_apart(sign_in: TokenSignIn, issuer: Issuer) -> None:
    user = await sign_in.authenticate(issuer.token(scope="orders:read users:read"))
    assert (user.user_id, user.scopes) == (7, {"orders:read", "users:read"})
    assert user.may_act_for(7)
    assert not user.may_act_for(8)
    service = await sign_in.authenticate(issuer.token(sub="client:7", scope=ANY_USER))
    assert service.user_id is None
    assert service.may_act_for(8)
    assert service.subject != user.subject


OURS = "https://shop.example/user"
# What access tokens of well-known issuers look like, with the settings for them; and whose they are.
ISSUERS: dict[str, tuple[Claims, dict[str, Any], int | None, set[str]]] = {
    "Keycloak": (
        Claims("shop_user"),
        {"sub": "1f6c0a3e-93b5-4d0e-8e11-5b9f3c1f2a77", "shop_user": "7", "scope": "openid orders:read"},
        7,
        {"openid", "orders:read"},
    ),
    "Auth0": (
        Claims(OURS, ("permissions",)),
        {"sub": "auth0|5f7c8ec7c33c6c004bbafe82", OURS: 7, "scope": "openid", "permissions": ["orders:read"]},
        7,
        {"orders:read"},
    ),
    "Okta": (
        Claims("shop_user", ("scp",)),
        {"sub": "ada@example.com", "uid": "00uixa271s6x7qt8I0h7", "shop_user": 7, "scp": ["orders:read"]},
        7,
        {"orders:read"},
    ),
    "Entra ID, a user": (
        Claims("shop_user", ("scp", "roles")),
        {"sub": "AAAAAAAAAAAAAAAAAAAAAIkzqFVrSaSaFHy782bbtaQ", "shop_user": "7", "scp": "orders:read users:read"},
        7,
        {"orders:read", "users:read"},
    ),
    "Entra ID, a service": (
        Claims("shop_user", ("scp", "roles")),
        {"sub": "12", "roles": ["orders:read", ANY_USER]},
        None,
        {"orders:read", ANY_USER},
    ),
    "nonsense": (
        Claims("shop_user", ("scp", "roles")),
        {"shop_user": True, "scp": {"orders:read": 1}, "roles": [1, None, ["orders:read"]]},
        None,
        set(),
    ),
    "a number that is nobody's id": (Claims("shop_user"), {"shop_user": -7, "scope": None}, None, set()),
    "a text that is no number": (Claims("shop_user"), {"shop_user": "٧", "scope": None}, None, set()),
    "a number that is too large for an id": (Claims("shop_user"), {"shop_user": 10**18, "scope": None}, None, set()),
}


@pytest.mark.parametrize(("claims", "told", "user_id", "scopes"), ISSUERS.values(), ids=ISSUERS)
async def test_user_and_scopes_stand_where_the_settings_say(
    issuer: Issuer, claims: Claims, told: dict[str, Any], user_id: int | None, scopes: set[str]
) -> None:
    async with httpx2.AsyncClient(transport=issuer) as client:
        caller = await TokenSignIn(client, ISSUER, AUDIENCE, claims).authenticate(issuer.token(**told))
    assert (caller.user_id, caller.scopes) == (user_id, scopes)


@pytest.mark.parametrize(("ours", "theirs"), [(ISSUER, f"{ISSUER}/"), (f"{ISSUER}/", ISSUER)])
async def test_a_slash_at_the_end_of_an_issuer_is_part_of_its_name_and_not_of_its_addresses(
    ours: str, theirs: str
) -> None:
    issuer = Issuer(ours)
    async with httpx2.AsyncClient(transport=issuer) as client:
        sign_in = TokenSignIn(client, ours, AUDIENCE)
        assert (await sign_in.authenticate(issuer.token())).user_id == 7
        with pytest.raises(Unauthenticated):
            await sign_in.authenticate(issuer.token(iss=theirs))
        assert issuer.asked == ["/.well-known/openid-configuration", "/jwks"]
        with pytest.raises(IssuerUnavailable):  # the document names another
            await TokenSignIn(client, theirs, AUDIENCE).authenticate(issuer.token())


async def test_keys_that_are_not_for_signatures_do_no_harm(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Issuers publish what they encrypt with, and algorithms of tomorrow, beside what they sign with."""
    [good] = issuer.keys.published()["keys"]
    more = [
        {"kty": "oct", "k": "c2VjcmV0", "kid": "shared", "alg": "HS256"},
        {"kty": "RSA", "kid": "encrypts", "use": "enc", "alg": "RSA-OAEP", "n": "AQAB", "e": "AQAB"},
        {"kty": "AKP", "kid": "tomorrow", "alg": "ML-DSA-44", "pub": "AQAB"},
    ]
    monkeypatch.setattr(issuer.keys, "published", lambda: {"keys": [*more, good]})
    async with httpx2.AsyncClient(transport=issuer) as client:
        assert (await TokenSignIn(client, ISSUER, AUDIENCE).authenticate(issuer.token())).user_id == 7


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unsigned(issuer: Issuer) -> str:
    return jwt.encode(jwt.decode(issuer.token(), options={"verify_signature": False}), None, "none")


def with_the_public_key_as_password(issuer: Issuer) -> str:
    """The confusion of symmetric and asymmetric: HS256 with what everybody can read."""
    [published] = issuer.keys.published()["keys"]
    head = b64(json.dumps({"alg": "HS256", "typ": "JWT", "kid": published["kid"]}).encode())
    body = issuer.token().split(".")[1]
    import hmac

    mac = hmac.digest(json.dumps(published).encode(), f"{head}.{body}".encode(), "sha256")
    return f"{head}.{body}.{b64(mac)}"


def by_another_key_of_the_same_name(issuer: Issuer) -> str:
    claims = jwt.decode(issuer.token(), options={"verify_signature": False})
    kid = jwt.get_unverified_header(issuer.token())["kid"]
    return jwt.encode(claims, generate_private_key(SECP256R1()), "ES256", headers={"kid": kid})


def with_another_body(issuer: Issuer) -> str:
    head, body, mac = issuer.token().split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    return f"{head}.{b64(json.dumps({**claims, 'sub': '8'}).encode())}.{mac}"


def without_a_key_named(issuer: Issuer) -> str:
    return jwt.encode({"sub": "7"}, generate_private_key(SECP256R1()), "ES256")


FORGERIES: dict[str, tuple[Refusal, Callable[[Issuer], str]]] = {
    "alg none": (Refusal.ALGORITHM, unsigned),
    "alg HS256 with the public key": (Refusal.ALGORITHM, with_the_public_key_as_password),
    "another key under the same id": (Refusal.SIGNATURE, by_another_key_of_the_same_name),
    "a changed body": (Refusal.SIGNATURE, with_another_body),
    "no key id": (Refusal.ALGORITHM, without_a_key_named),
    "of a stranger": (Refusal.UNKNOWN_KEY, lambda issuer: Issuer().token()),
    "for another service": (Refusal.AUDIENCE, lambda issuer: issuer.token(aud="else")),
    "for nobody": (Refusal.CLAIM, lambda issuer: issuer.token(aud=None)),
    "of another issuer": (Refusal.ISSUER, lambda issuer: issuer.token(iss="http://else.test")),
    "expired": (
        Refusal.EXPIRED,
        lambda issuer: issuer.keys.sign({"iss": ISSUER, "aud": AUDIENCE, "sub": "7"}, -3600),
    ),
    "from the future": (Refusal.TOO_EARLY, lambda issuer: issuer.token(nbf=int(time()) + 3600)),
    "without a subject": (Refusal.CLAIM, lambda issuer: issuer.token(sub=None)),
    "with a subject that is no text": (Refusal.CLAIM, lambda issuer: issuer.token(sub=7)),
    "not a token": (Refusal.MALFORMED, lambda issuer: "hello"),
    "empty parts": (Refusal.MALFORMED, lambda issuer: ".."),
    "no text": (Refusal.MALFORMED, lambda issuer: "\x00\xff.é.ü"),
    "too long": (Refusal.MALFORMED, lambda issuer: issuer.token(scope="x " * 10_000)),
    "deep": (Refusal.MALFORMED, lambda issuer: f"{b64(b'[' * 6000)}.{b64(b'{}')}.x"),
}


@pytest.mark.parametrize(("reason", "forge"), FORGERIES.values(), ids=FORGERIES)
async def test_forgeries_are_refused_and_only_we_are_told_why(
    sign_in: TokenSignIn, issuer: Issuer, reason: Refusal, forge: Callable[[Issuer], str]
) -> None:
    await sign_in.authenticate(issuer.token())
    told = r"the token (is not valid|has expired|is signed with a key that is not known)"
    with pytest.raises(Unauthenticated, match=told) as raised:
        await sign_in.authenticate(forge(issuer))
    assert raised.value.reason is reason


async def test_keys_are_asked_for_once_and_again_when_they_are_rotated(
    sign_in: TokenSignIn, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = issuer.token()
    for _ in range(5):
        await sign_in.authenticate(issuer.token())
    assert issuer.asked.count("/jwks") == 1
    monkeypatch.setattr(signin, "REFRESH_PAUSE_S", 0.0)
    issuer.keys.rotate()
    assert (await sign_in.authenticate(issuer.token())).user_id == 7
    assert issuer.asked.count("/jwks") == 2
    assert (await sign_in.authenticate(old)).user_id == 7, "what the old key signed is good until it expires"


async def test_strangers_cannot_make_us_ask_the_issuer_all_the_time(sign_in: TokenSignIn, issuer: Issuer) -> None:
    await sign_in.authenticate(issuer.token())
    stranger = Issuer()
    for _ in range(50):
        stranger.keys.rotate()
        with pytest.raises(Unauthenticated):
            await sign_in.authenticate(stranger.token())
    assert issuer.asked.count("/jwks") == 1


async def test_a_caller_who_gives_up_leaves_nobody_else_without_the_keys(
    sign_in: TokenSignIn, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """His deadline may be a millisecond: whoever asks next must not have to wait for the pause to end."""
    issuer.answers.clear()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await sign_in.authenticate(issuer.token())
    issuer.answers.set()
    assert (await sign_in.authenticate(issuer.token())).user_id == 7
    assert issuer.asked.count("/jwks") == 1


async def test_while_the_issuer_is_away_known_keys_go_on(
    sign_in: TokenSignIn, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    issuer.away = True
    with pytest.raises(IssuerUnavailable):
        await sign_in.authenticate(issuer.token())
    issuer.away = False
    monkeypatch.setattr(signin, "REFRESH_PAUSE_S", 0.0)
    await sign_in.authenticate(issuer.token())
    issuer.away = True
    monkeypatch.setattr(signin, "MAX_AGE_S", 0.0)
    assert (await sign_in.authenticate(issuer.token(scope=""))).user_id == 7


async def test_nobody_who_uses_a_known_key_waits_for_a_silent_issuer(
    sign_in: TokenSignIn, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await sign_in.authenticate(issuer.token())
    monkeypatch.setattr(signin, "REFRESH_PAUSE_S", 0.0)
    monkeypatch.setattr(signin, "FETCH_TIMEOUT_S", 0.2)
    monkeypatch.setattr(signin, "MAX_AGE_S", 0.0)
    issuer.answers.clear()  # a black hole: no refusal, no answer
    waited = []
    for number in range(4):
        begun = monotonic()
        assert (await sign_in.authenticate(issuer.token(scope=f"scope:{number}"))).user_id == 7
        waited.append(monotonic() - begun > 0.1)
        await asyncio.sleep(0.25)
    assert waited == [True, False, False, False], "one learns of the silence, the others are spared"


async def test_a_withdrawn_key_is_not_believed_any_more_not_even_for_a_token_seen_before(
    sign_in: TokenSignIn, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    stolen = issuer.token()
    await sign_in.authenticate(stolen)
    monkeypatch.setattr(signin, "REFRESH_PAUSE_S", 0.0)
    for _ in range(3):
        issuer.keys.rotate()
    await sign_in.authenticate(issuer.token())
    with pytest.raises(Unauthenticated):
        await sign_in.authenticate(stolen)


async def test_a_token_seen_before_expires_all_the_same(
    sign_in: TokenSignIn, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = issuer.token()
    await sign_in.authenticate(token)
    later = time() + 120
    monkeypatch.setattr(signin, "time", lambda: later)
    monkeypatch.setattr("jwt.api_jwt.datetime", _clock(later))
    with pytest.raises(Unauthenticated, match="expired"):
        await sign_in.authenticate(token)


def _clock(unix: float) -> type:
    from datetime import datetime

    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.fromtimestamp(unix, tz)

    return Later


async def test_client_credentials_are_for_the_one_client_with_its_secret_and_for_its_scopes(
    issuer: Issuer, sign_in: TokenSignIn
) -> None:
    async with httpx2.AsyncClient(transport=issuer, base_url=ISSUER) as client:
        form = {"grant_type": "client_credentials", "scope": f"charges:write {ANY_USER} made:up"}
        right = (CLIENT, quote(SECRET, safe=""))
        answer = await client.post("/token", data=form, auth=right)
        assert answer.json()["scope"] == "charges:write"
        caller = await sign_in.authenticate(answer.json()["access_token"])
        assert caller == Caller(f"service:client:{CLIENT}", frozenset({"charges:write"}), None)
        for wrong in ((CLIENT, "guessed"), ("7", right[1]), (CLIENT, ""), ("", "")):
            assert (await client.post("/token", data=form, auth=wrong)).status_code == 401
        assert (await client.post("/token", data=form)).status_code == 401
        in_body = {**form, "client_id": CLIENT, "client_secret": SECRET}
        assert (await client.post("/token", data=in_body)).status_code == 200
        assert (await client.post("/token", data={**in_body, "grant_type": "password"})).status_code == 400


async def test_nobody_who_only_asks_is_given_the_scope_for_charges(issuer: Issuer, sign_in: TokenSignIn) -> None:
    async with httpx2.AsyncClient(transport=issuer, base_url=ISSUER) as client:
        user = {"user_id": 7, "scope": "charges:write orders:read"}
        for path, body in (("user-token", user), ("service-token", None)):
            answer = await client.post(f"/development/{path}", json=body)
            caller = await sign_in.authenticate(answer.json()["access_token"])
            assert "charges:write" not in caller.scopes
            assert "orders:read" in caller.scopes
