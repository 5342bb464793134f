"""Where keys, tokens and passwords come from: the environment, files, Vault or AWS's parameter store.

Owns how each is asked. Knows no secret's meaning. All four are one question, ``read``; a place is named by one setting:

    environment                          SIGNALBOX_SECRET_DATABASE_PASSWORD
    files:/run/secrets                   /run/secrets/database_password: Docker's and Kubernetes' way
    vault:https://vault:8200/secret/app  key ``database_password`` of ``app`` in the KV 2 engine at ``secret``
    ssm:/signalbox/production            parameter ``/signalbox/production/database_password``

Who needs one that may change asks ``Rotating``, which goes on with the last one while its place is away.

Vault's token is read from ``VAULT_TOKEN_FILE`` (what its agent keeps fresh), else ``VAULT_TOKEN``, at every question.
The parameter store needs the extra ``aws`` (botocore), which finds credentials as every AWS client does.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote, urlsplit

from service import telemetry
from service.errand import Errand
from service.json_answers import read_json

if TYPE_CHECKING:
    import httpx2

TIMEOUT_S = 2.0
# How long a request may be held up for a newer secret where an older one is known, ...
PATIENCE_S = 0.5
# ... and how long nobody asks a place that did not answer.
RETRY_AFTER_S = 5.0

# What a client has to be told in order to be seen: itself, and the name of whom it asks.
Instrument = Callable[["httpx2.AsyncClient", str], None]


class SecretsUnavailable(Exception):
    """The place does not answer, or not as it should. The text never holds a secret."""


class Secrets(Protocol):
    """A place where secrets are kept."""

    async def read(self, name: str) -> str | None:
        """The secret as it is now; None when there is none of this name. Raises ``SecretsUnavailable``."""
        ...


class EnvironmentSecrets:
    """Variables ``SIGNALBOX_SECRET_<NAME>`` of this process."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    async def read(self, name: str) -> str | None:
        return self._environ.get(f"SIGNALBOX_SECRET_{name.upper()}")


class FileSecrets:
    """One file a secret. The platform replaces the file when the secret changes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def read(self, name: str) -> str | None:
        try:
            return (self._folder / name).read_text().removesuffix("\n")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SecretsUnavailable(f"{self._folder / name}: {error.strerror}") from error


class VaultSecrets:
    """One entry of HashiCorp Vault's key-value engine, version 2."""

    def __init__(self, address: str, environ: Mapping[str, str], instrument: Instrument | None = None) -> None:
        parts = urlsplit(address)
        mount, _, path = parts.path.strip("/").partition("/")
        if parts.scheme not in ("http", "https") or not path:
            raise ValueError("vault: needs an address with mount and path, such as vault:https://vault:8200/secret/app")
        self._url = f"{parts.scheme}://{parts.netloc}/v1/{mount}/data/{path}"
        self._environ = environ
        self._server = _Server("vault", instrument)

    async def read(self, name: str) -> str | None:
        headers = {"X-Vault-Token": self._token(), "X-Vault-Request": "true"}
        answer = await self._server.ask("GET", self._url, headers)
        if answer.status_code == HTTPStatus.NOT_FOUND:
            return None
        value = _json(answer, "Vault").get("data", {}).get("data", {}).get(name)
        return None if value is None else str(value)

    def _token(self) -> str:
        file = self._environ.get("VAULT_TOKEN_FILE")
        try:
            return Path(file).read_text().strip() if file else self._environ.get("VAULT_TOKEN", "")
        except OSError as error:
            raise SecretsUnavailable(f"VAULT_TOKEN_FILE: {error.strerror}") from error


class SsmSecrets:
    """AWS Systems Manager's parameter store, below one path. ``AWS_ENDPOINT_URL_SSM`` names another endpoint."""

    def __init__(self, path: str, environ: Mapping[str, str], instrument: Instrument | None = None) -> None:
        try:
            from botocore.session import Session
        except ImportError as error:
            raise ValueError("ssm: needs botocore: install signalbox[aws]") from error
        self._path = "/" + path.strip("/")
        self._server = _Server("ssm", instrument)
        self._session = Session()
        self._region = environ.get("AWS_REGION") or self._session.get_config_variable("region")
        if not self._region:
            raise ValueError("ssm: needs AWS_REGION")
        self._url = environ.get("AWS_ENDPOINT_URL_SSM") or f"https://ssm.{self._region}.amazonaws.com"

    async def read(self, name: str) -> str | None:
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest

        body = json.dumps({"Name": f"{self._path}/{quote(name)}", "WithDecryption": True}).encode()
        headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "AmazonSSM.GetParameter"}
        request = AWSRequest("POST", f"{self._url}/", headers=headers, data=body)
        credentials = await asyncio.to_thread(self._session.get_credentials)  # may ask the machine's own service
        if credentials is None:
            raise SecretsUnavailable("there are no AWS credentials")
        frozen = await asyncio.to_thread(credentials.get_frozen_credentials)
        SigV4Auth(frozen, "ssm", self._region).add_auth(request)
        answer = await self._server.ask("POST", f"{self._url}/", dict(request.headers), body)
        if answer.status_code == HTTPStatus.BAD_REQUEST and "ParameterNotFound" in answer.text:
            return None
        return str(_json(answer, "the parameter store").get("Parameter", {}).get("Value"))


class Rotating:
    """A secret that is read anew each time it is needed, so that it can be changed while the service runs.

    While its place does not answer, the last one goes on: ``first`` until one was read. Then the place is asked in the
    background, not oftener than every ``RETRY_AFTER_S``, and nobody waits for it.
    """

    def __init__(self, secrets: Secrets, name: str, first: str | None = None) -> None:
        self._secrets = secrets
        self._name = name
        self._last = first
        self._errand = Errand(self._read)

    async def __call__(self) -> str:
        """The secret. Raises ``OSError`` when there never was one, which is told as a database out of reach."""
        asking = self._errand.start(RETRY_AFTER_S if self._errand.failed else 0.0)
        if asking is not None and (self._last is None or not self._errand.failed):
            await asyncio.wait({asking}, timeout=TIMEOUT_S if self._last is None else PATIENCE_S)
        if self._last is None:
            raise OSError(f"there is no secret {self._name}")
        return self._last

    async def _read(self) -> bool:
        try:
            came = await self._secrets.read(self._name) or self._last
        except SecretsUnavailable as error:
            telemetry.logger(__name__).warning("secrets cannot be read: %s", error)
            return False
        before, self._last = self._last, came
        if before is not None and came != before:
            telemetry.event("secret.changed", {"secret.name": self._name})
        return True


def build_secrets(place: str, environ: Mapping[str, str], instrument: Instrument | None = None) -> Secrets:
    """The place that a setting names; ``instrument`` is for what asks it over HTTP. Raises ValueError with a remedy."""
    kind, _, rest = place.partition(":")
    match kind:
        case "environment":
            return EnvironmentSecrets(environ)
        case "files" if rest:
            return FileSecrets(Path(rest))
        case "vault":
            return VaultSecrets(rest, environ, instrument)
        case "ssm" if rest.strip("/"):
            return SsmSecrets(rest, environ, instrument)
    raise ValueError(f"{kind!r} is no place for secrets: environment, files:FOLDER, vault:ADDRESS or ssm:PATH")


class _Server:
    """A place that is asked over HTTP. No connection is kept: it is asked seldom, and nobody has to close anything."""

    def __init__(self, peer: str, instrument: Instrument | None) -> None:
        self._peer = peer
        self._instrument = instrument
        self._client: httpx2.AsyncClient | None = None

    async def ask(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> httpx2.Response:
        import httpx2  # only who keeps secrets elsewhere needs it

        if self._client is None:
            self._client = httpx2.AsyncClient(limits=httpx2.Limits(max_keepalive_connections=0))
            if self._instrument is not None:
                self._instrument(self._client, self._peer)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await self._client.request(method, url, headers=dict(headers), content=body)
        except (httpx2.HTTPError, TimeoutError) as error:
            raise SecretsUnavailable(f"{urlsplit(url).netloc}: {type(error).__name__}") from error


def _json(answer: httpx2.Response, who: str) -> dict[str, dict[str, dict[str, object]]]:
    if not answer.is_success:
        raise SecretsUnavailable(f"{who} answered {answer.status_code}")
    try:
        document = read_json(answer)
    except ValueError as error:
        raise SecretsUnavailable(f"{who} did not answer JSON") from error
    return document if isinstance(document, dict) else {}
