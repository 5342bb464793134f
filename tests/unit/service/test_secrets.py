"""Secrets come from wherever the platform keeps them; what changes there is seen, what is away goes on as it was.

Vault and the parameter store are stood in for by a server that speaks their wire format and checks the credentials: the
header of the one, the signature (version 4) of the other, computed again with the secret key. Where `vault` is on PATH,
the real one is asked as well.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from subprocess import DEVNULL

import httpx2
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from service import secrets as secrets_module
from service.secrets import Rotating, Secrets, SecretsUnavailable, build_secrets
from service.settings import Settings, fill_in
from service.telemetry.testing import record

pytestmark = pytest.mark.anyio

TOKEN, ACCESS_KEY, SECRET_KEY = "hvs.a-token", "AKIDEXAMPLE", "a secret key"
ROOT_TOKEN = "root-of-a-test"


class StandIn(ThreadingHTTPServer):
    """Vault's KV 2 engine at ``/v1/secret/data/app``, and AmazonSSM.GetParameter below ``/app``."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.kept: dict[str, str] = {}
        self.broken = False
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: StandIn

    def do_GET(self) -> None:
        if self.headers["X-Vault-Token"] != TOKEN:
            self.answer(403, {"errors": ["permission denied"]})
        elif self.path != "/v1/secret/data/app" or not self.server.kept:
            self.answer(404, {"errors": []})
        else:
            self.answer(200, {"data": {"data": self.server.kept, "metadata": {"version": 1}}})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if not self.signed(body) or self.headers["X-Amz-Target"] != "AmazonSSM.GetParameter":
            self.answer(400, {"__type": "InvalidSignatureException"})
            return
        asked = json.loads(body)
        name = asked["Name"].removeprefix("/app/")
        if name not in self.server.kept or not asked["WithDecryption"]:
            self.answer(400, {"__type": "ParameterNotFound"})
        else:
            self.answer(200, {"Parameter": {"Name": asked["Name"], "Value": self.server.kept[name], "Version": 1}})

    def signed(self, body: bytes) -> bool:
        kept = {name: self.headers[name] for name in ("Content-Type", "X-Amz-Target")}
        request = AWSRequest("POST", f"{self.server.address}/", headers=kept, data=body)
        request.context["timestamp"] = self.headers["X-Amz-Date"]
        signer = SigV4Auth(Credentials(ACCESS_KEY, SECRET_KEY), "ssm", "eu-central-1")
        request.headers["X-Amz-Date"] = self.headers["X-Amz-Date"]
        string = signer.string_to_sign(request, signer.canonical_request(request))
        return self.headers["Authorization"].endswith(f"Signature={signer.signature(string, request)}")

    def answer(self, status: int, document: object) -> None:
        raw = b"<html>" if self.server.broken else json.dumps(document).encode()
        self.send_response(200 if self.server.broken else status)
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    server = StandIn()
    yield server
    server.shutdown()
    server.server_close()


Keep = Callable[[str, str], None]


@pytest.fixture(params=["environment", "files", "vault", "ssm"])
def place(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stand_in: StandIn
) -> tuple[Secrets, Keep]:
    environ: dict[str, str] = {}
    if request.param == "environment":
        return build_secrets("environment", environ), lambda name, value: environ.__setitem__(
            f"SIGNALBOX_SECRET_{name.upper()}", value
        )
    if request.param == "files":
        return build_secrets(
            f"files:{tmp_path}", environ
        ), lambda name, value: (tmp_path / name).write_text(value + "\n") and None
    if request.param == "vault":
        (tmp_path / "token").write_text(TOKEN + "\n")
        environ["VAULT_TOKEN_FILE"] = str(tmp_path / "token")
        return build_secrets(f"vault:{stand_in.address}/secret/app", environ), stand_in.kept.__setitem__
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    environ |= {"AWS_REGION": "eu-central-1", "AWS_ENDPOINT_URL_SSM": stand_in.address}
    return build_secrets("ssm:/app", environ), stand_in.kept.__setitem__


async def test_a_secret_is_read_as_it_is_now(place: tuple[Secrets, Keep]) -> None:
    secrets, keep = place
    assert await secrets.read("database_password") is None
    keep("database_password", "p@ss/w:rd ")
    assert await secrets.read("database_password") == "p@ss/w:rd "
    keep("database_password", "another")
    assert await secrets.read("database_password") == "another"
    assert await secrets.read("else") is None


@pytest.mark.parametrize("kind", ["vault", "ssm"])
async def test_a_place_that_is_away_or_answers_nonsense_or_refuses_us_says_so_without_secrets(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "guessed")
    environ = {"VAULT_TOKEN": "guessed", "AWS_REGION": "eu-central-1", "AWS_ENDPOINT_URL_SSM": stand_in.address}
    secrets = build_secrets(f"vault:{stand_in.address}/secret/app" if kind == "vault" else "ssm:/app", environ)
    stand_in.kept["database_password"] = "hunter2"
    with pytest.raises(SecretsUnavailable, match=r"answered 40[03]"):
        await secrets.read("database_password")
    stand_in.broken = True
    with pytest.raises(SecretsUnavailable, match="JSON"):
        await secrets.read("database_password")
    stand_in.shutdown()
    stand_in.server_close()
    with pytest.raises(SecretsUnavailable, match="ConnectError"):
        await secrets.read("database_password")


@pytest.fixture
async def vault() -> AsyncIterator[httpx2.AsyncClient]:
    """A development server of the real thing, and its root user; unsealed, with a key-value engine at ``secret``."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    options = (f"-dev-root-token-id={ROOT_TOKEN}", f"-dev-listen-address={address}", "-dev-no-store-token")
    server = await asyncio.create_subprocess_exec("vault", "server", "-dev", *options, stdout=DEVNULL, stderr=DEVNULL)
    try:
        async with httpx2.AsyncClient(base_url=f"http://{address}/v1/", headers={"X-Vault-Token": ROOT_TOKEN}) as root:
            for _ in range(200):
                with suppress(httpx2.HTTPError):
                    if (await root.get("sys/mounts/secret")).is_success:
                        break
                await asyncio.sleep(0.1)
            yield root
    finally:
        server.kill()
        await server.wait()


@pytest.mark.processes
@pytest.mark.skipif(shutil.which("vault") is None, reason="there is no `vault` on PATH")
async def test_a_real_vault_with_a_token_that_may_read_nothing_else(vault: httpx2.AsyncClient, tmp_path: Path) -> None:
    async def keep(password: str) -> None:
        (await vault.post("secret/data/app", json={"data": {"database_password": password}})).raise_for_status()

    policy = {"policy": 'path "secret/data/app" { capabilities = ["read"] }'}
    (await vault.put("sys/policies/acl/app", json=policy)).raise_for_status()
    token = (await vault.post("auth/token/create", json={"policies": ["app"]})).json()["auth"]["client_token"]
    (tmp_path / "token").write_text(f"{token}\n")
    place = f"vault:{str(vault.base_url).removesuffix('/v1/')}/secret/app"
    secrets = build_secrets(place, {"VAULT_TOKEN_FILE": str(tmp_path / "token")})
    assert await secrets.read("database_password") is None
    for password in ("p@ss/w:rd ", "another"):
        await keep(password)
        assert await secrets.read("database_password") == password
    (await vault.delete("secret/data/app")).raise_for_status()
    assert await secrets.read("database_password") is None
    (await vault.post("auth/token/revoke", json={"token": token})).raise_for_status()
    with pytest.raises(SecretsUnavailable, match="answered 403"):
        await secrets.read("database_password")
    (await vault.put("sys/seal")).raise_for_status()
    with pytest.raises(SecretsUnavailable, match="answered 503"):
        await secrets.read("database_password")


async def test_the_last_password_goes_on_while_its_place_is_away(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    environ = {"VAULT_TOKEN": TOKEN}
    password = Rotating(build_secrets(f"vault:{stand_in.address}/secret/app", environ), "database_password")
    with pytest.raises(OSError, match="no secret database_password"):
        await password()
    stand_in.kept["database_password"] = "one"
    assert await password() == "one"
    stand_in.broken = True
    assert await password() == "one"
    stand_in.broken = False
    stand_in.kept["database_password"] = "two"
    monkeypatch.setattr(secrets_module, "RETRY_AFTER_S", 0.0)
    await eventually(password, "two")
    stand_in.kept["database_password"] = "three"
    assert await password() == "three", "a place that answers is waited for"


async def test_a_change_is_told_by_the_secret_s_name_alone(tmp_path: Path) -> None:
    kept = tmp_path / "database_password"
    with record() as recorded:
        password = Rotating(build_secrets(f"files:{tmp_path}", {}), "database_password")
        with recorded.telemetry.span("connect"):
            for value in ("hunter1", "hunter1", "hunter2", "hunter2"):
                kept.write_text(value)
                assert await password() == value
            kept.unlink()
            assert await password() == "hunter2", "one that is away has not changed"
        assert [line["secret.name"] for line in recorded.lines()] == ["database_password"]
        assert recorded.line("secret.changed")["event.name"] == "secret.changed"
        assert [event.name for event in recorded.span("connect").events] == ["secret.changed"]
        assert "hunter" not in recorded.everything()


async def test_the_one_read_at_the_start_counts_as_known(tmp_path: Path) -> None:
    (tmp_path / "client_secret").write_text("hunter2")
    with record() as recorded:
        assert await Rotating(build_secrets(f"files:{tmp_path}", {}), "client_secret", "hunter1")() == "hunter2"
        assert recorded.line("secret.changed")["secret.name"] == "client_secret"


async def eventually(password: Rotating, wanted: str) -> None:
    """Ask until it is that one: a place that was away is asked in the background."""
    for _ in range(1000):
        if (seen := await password()) == wanted:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"it is still {seen!r}")


class Dead:
    """A place that does not answer, or does at last."""

    def __init__(self) -> None:
        self.asked = 0
        self.answer = asyncio.Event()

    async def read(self, name: str) -> str | None:
        self.asked += 1
        try:
            async with asyncio.timeout(0.2):
                await self.answer.wait()
        except TimeoutError:
            raise SecretsUnavailable("it is dead") from None
        return "new"


async def test_a_dead_place_holds_nobody_up_and_is_left_in_peace(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = asyncio.get_running_loop().time
    monkeypatch.setattr(secrets_module, "PATIENCE_S", 0.05)
    dead = Dead()
    password = Rotating(dead, "database_password", "read at the start")
    begun = clock()
    assert set(await asyncio.gather(*(password() for _ in range(50)))) == {"read at the start"}
    assert clock() - begun < 0.15, "whoever has an old one does not wait until the place is given up"
    await asyncio.sleep(0.3)
    begun = clock()
    assert {await password() for _ in range(100)} == {"read at the start"}
    assert clock() - begun < 0.1
    assert dead.asked == 1
    monkeypatch.setattr(secrets_module, "RETRY_AFTER_S", 0.0)
    dead.answer.set()
    await eventually(password, "new")


async def test_who_never_had_one_waits_as_long_as_it_takes_to_know_and_the_next_not_at_all() -> None:
    password = Rotating(Dead(), "database_password")
    begun = asyncio.get_running_loop().time()
    for _ in range(3):
        with pytest.raises(OSError, match="no secret"):
            await password()
    assert 0.2 <= asyncio.get_running_loop().time() - begun < 0.35


@pytest.mark.parametrize("peer", ["vault", "ssm"])
async def test_what_is_asked_over_the_network_leaves_a_span_and_a_duration_and_no_secret(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch, peer: str
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    environ = {"VAULT_TOKEN": TOKEN, "AWS_REGION": "eu-central-1", "AWS_ENDPOINT_URL_SSM": stand_in.address}
    place = f"vault:{stand_in.address}/secret/app" if peer == "vault" else "ssm:/app"
    stand_in.kept["database_password"] = "hunter2"
    with record() as recorded:
        secrets = build_secrets(place, environ, recorded.telemetry.instrument_http_client)
        for _ in range(2):
            assert await secrets.read("database_password") == "hunter2"
        spans = [recorded.attributes(span) for span in recorded.spans()]
        assert [(span["peer.service"], span["http.response.status_code"]) for span in spans] == [(peer, 200)] * 2
        everything = recorded.everything()
        assert f'outcome="good",peer_service="{peer}"' in everything
        assert not [one for one in ("hunter2", TOKEN, SECRET_KEY) if one in everything]
        stand_in.shutdown()
        stand_in.server_close()
        with pytest.raises(SecretsUnavailable):
            await secrets.read("database_password")
        assert f'outcome="bad",peer_service="{peer}"' in recorded.metrics_text()


async def test_secrets_go_before_what_the_settings_say(tmp_path: Path) -> None:
    for name, value in {
        "cursor_keys": "a-key-of-sixteen",
        "client_secret": "e:f",
        "valkey_password": "a/b",
        "database_password": "c@d",
    }.items():
        (tmp_path / name).write_text(value)
    settings = Settings(
        database_url="postgresql+asyncpg://shop:old@db:5432/shop",
        valkey_url="redis://:old@cache:6379/0",
        quota_url="redis://quotas:6379/0",
    )
    filled = await fill_in(settings, build_secrets(f"files:{tmp_path}", {}))
    assert filled.cursor_keys == "a-key-of-sixteen"
    assert filled.client_secret == "e:f"
    assert filled.database_url == "postgresql+asyncpg://shop:c%40d@db:5432/shop"
    assert filled.valkey_url == "redis://:a%2Fb@cache:6379/0"
    assert filled.quota_url == filled.counting_url == "redis://:a%2Fb@quotas:6379/0"


@pytest.mark.parametrize("place", ["", "file:/run", "files:", "vault:https://vault", "ssm:", "gcp:x"])
def test_what_is_no_place_is_refused_with_a_remedy(place: str) -> None:
    with pytest.raises(ValueError, match=r"environment, files:FOLDER|such as vault:"):
        build_secrets(place, {})
