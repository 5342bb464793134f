"""A Keycloak with a realm of ours: the issuer that many really have.

Needs its distribution, unpacked, in the folder that `SIGNALBOX_KEYCLOAK` names, and Java. Nothing is written there.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.acceptance.backends import eventually
from tests.acceptance.service.conftest import free_port

HOME = os.environ.get("SIGNALBOX_KEYCLOAK", "")
REALM, AUDIENCE, USER_CLAIM = "shop", "signalbox", "shop_user"
# Not as ours are called: what is named otherwise there is told in settings.
CHARGE_SCOPE = "charges:write"
SCOPES = ("users:read", "orders:read", "orders:write", CHARGE_SCOPE)


@dataclass(frozen=True)
class Keycloak:
    """One that answers. ``issuer`` is what its tokens say."""

    http: httpx.Client
    issuer: str
    client_secret: str
    password: str

    def user_token(self, username: str, client: str) -> str:
        """What a user who signs in gets, by the way without a browser."""
        return self._token(REALM, grant_type="password", client_id=client, username=username, password=self.password)

    def rotate_keys(self) -> None:
        """Sign with a new key from now on; the old one stays published."""
        token = self._token(
            "master", grant_type="password", client_id="admin-cli", username="admin", password=self.password
        )
        key = {
            "name": "newer",
            "providerId": "rsa-generated",
            "providerType": "org.keycloak.keys.KeyProvider",
            "config": {"priority": ["1000"], "algorithm": ["RS256"]},
        }
        answer = self.http.post(
            f"/admin/realms/{REALM}/components", json=key, headers={"authorization": f"Bearer {token}"}
        )
        answer.raise_for_status()

    def _token(self, realm: str, **form: str) -> str:
        answer = self.http.post(f"/realms/{realm}/protocol/openid-connect/token", data=form)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])


@contextmanager
def keycloak(folder: Path) -> Iterator[Keycloak]:
    """Starts one with everything that it writes below ``folder``."""
    port, password, client_secret = free_port(), secrets.token_urlsafe(16), secrets.token_urlsafe(16)
    home = folder / "keycloak"
    shutil.copytree(HOME, home)
    (home / "data" / "import").mkdir(parents=True)
    (home / "data" / "import" / "realm.json").write_text(json.dumps(realm(client_secret, password)))
    command = ["bin/kc.sh", "start-dev", "--import-realm", "--http-host=127.0.0.1", f"--http-port={port}"]
    admin = {"KC_BOOTSTRAP_ADMIN_USERNAME": "admin", "KC_BOOTSTRAP_ADMIN_PASSWORD": password}
    url = f"http://127.0.0.1:{port}"
    with (
        (folder / "keycloak.log").open("wb") as log,
        httpx.Client(base_url=url, timeout=30) as client,
        subprocess.Popen(
            command, cwd=home, env=os.environ | admin, stdout=log, stderr=log, start_new_session=True
        ) as process,
    ):
        try:
            about = f"/realms/{REALM}/.well-known/openid-configuration"
            eventually(lambda: client.get(about).status_code == 200, "Keycloak with its realm", within_s=180)
            yield Keycloak(client, str(client.get(about).json()["issuer"]), client_secret, password)
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def realm(client_secret: str, password: str) -> dict[str, Any]:
    """Users whose id of ours is an attribute, two clients that users sign in through, and the service's own client."""
    scopes = [
        {"name": name, "protocol": "openid-connect", "attributes": {"include.in.token.scope": "true"}}
        for name in SCOPES
    ]
    ours = {
        "name": "ours",
        "protocol": "openid-connect",
        "attributes": {"include.in.token.scope": "false"},
        "protocolMappers": [
            _mapper("sub", "oidc-sub-mapper"),
            _mapper("audience", "oidc-audience-mapper", {"included.custom.audience": AUDIENCE}),
            _mapper(
                "user",
                "oidc-usermodel-attribute-mapper",
                {"user.attribute": USER_CLAIM, "claim.name": USER_CLAIM, "jsonType.label": "String"},
            ),
        ],
    }
    public = {"publicClient": True, "directAccessGrantsEnabled": True, "standardFlowEnabled": False}
    return {
        "realm": REALM,
        "enabled": True,
        "clientScopes": [*scopes, ours],
        "clients": [
            {"clientId": "web", **public, "defaultClientScopes": ["ours", "users:read", "orders:read", "orders:write"]},
            {"clientId": "kiosk", **public, "defaultClientScopes": ["ours", "orders:read"]},
            {
                "clientId": "shop-service",
                "secret": client_secret,
                "serviceAccountsEnabled": True,
                "standardFlowEnabled": False,
                "defaultClientScopes": ["ours"],
                "optionalClientScopes": [CHARGE_SCOPE],
            },
        ],
        "users": [
            {
                "username": "ada",
                "enabled": True,
                "email": "ada@example.com",
                "emailVerified": True,
                "firstName": "Ada",
                "lastName": "Example",
                "attributes": {USER_CLAIM: ["17"]},
                "credentials": [{"type": "password", "value": password, "temporary": False}],
            }
        ],
        "components": {
            "org.keycloak.userprofile.UserProfileProvider": [
                {
                    "providerId": "declarative-user-profile",
                    "config": {"kc.user.profile.config": [json.dumps(_PROFILE)]},
                }
            ]
        },
    }


# Attributes that Keycloak does not know are kept.
_PROFILE = {
    "attributes": [
        {"name": name, "permissions": {"view": ["admin", "user"], "edit": ["admin", "user"]}}
        for name in ("username", "email", "firstName", "lastName")
    ],
    "unmanagedAttributePolicy": "ENABLED",
}


def _mapper(name: str, kind: str, config: dict[str, str] | None = None) -> dict[str, Any]:
    return {
        "name": name,
        "protocol": "openid-connect",
        "protocolMapper": kind,
        "config": {"access.token.claim": "true", **(config or {})},
    }
