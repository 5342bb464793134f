"""Configuration of one process, read once when it starts: from its environment, and from the file of that environment.

Owns every setting's name, type, default and bound. Knows nothing of what the settings are used for. Addresses that
may carry a password are kept out of ``repr`` so that no traceback or log line shows them.
"""

from __future__ import annotations

import os
from importlib import metadata
from pathlib import Path
from typing import Literal
from urllib.parse import SplitResult, parse_qs, quote, urlsplit

from pydantic import Field, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from service.edge.quota import Policy
from service.secrets import Secrets

# Known to everybody who reads this, so only good where cursors protect nothing.
DEVELOPMENT_CURSOR_KEY = "development-cursor-key"

DEVELOPMENT_ISSUER = "http://127.0.0.1:8190"
# The settings of each environment, one file each; this class is their schema.
ENVIRONMENTS = Path(__file__).parent / "environments"

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_KNOWN_PASSWORDS = ("", "signalbox", "postgres", "password", "secret", "changeme", "admin")

MOST_REPLICAS = 8  # each is a pool, and a value of the label that says which

ServiceName = Literal["api", "worker", "payments", "issuer"]
Environment = Literal["development", "stage", "production"]


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _package_version() -> str:
    try:
        return metadata.version("signalbox")
    except metadata.PackageNotFoundError:  # run from a checkout that was never installed
        return "0.0.0+checkout"


class SettingsRefused(Exception):
    """Settings that are well formed, and must not be used here. ``reasons``: all of them, each with its name."""

    def __init__(self, reasons: list[str]) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = reasons


class Settings(BaseSettings):
    """One process's configuration. Every field is the environment variable ``SIGNALBOX_<FIELD>``."""

    model_config = SettingsConfigDict(env_prefix="SIGNALBOX_", extra="forbid", frozen=True)

    environment: Environment = "development"
    service_name: ServiceName = "api"
    instance: str = ""
    host: str = "127.0.0.1"
    version: str = Field(default_factory=_package_version)
    revision: str = "unknown"

    database_url: str = Field(repr=False)
    replica_urls: str = Field(default="", repr=False)  # of the read replicas, comma separated
    valkey_url: str = Field(default="redis://127.0.0.1:16379/0", repr=False)
    quota_url: str = Field(
        default="", repr=False
    )  # of the Valkey that counts requests; empty: the same, beside the cache
    payments_url: str = "http://127.0.0.1:8160"
    otlp_url: str = "http://127.0.0.1:4318"
    telemetry: Literal["on", "off"] = "on"  # off: to measure what it costs

    # Connections of this process to the primary, a replica, Valkey and payments, each: as many as it can use at once.
    pool_size: int = Field(default=10, ge=1, le=200)
    # From the outside in; what each means: service.data.engines.Timeouts.
    db_acquire_timeout_s: float = Field(default=2.0, gt=0, le=60)
    db_connect_timeout_s: float = Field(default=1.5, gt=0, le=60)
    db_statement_timeout_s: float = Field(default=5.0, gt=0, le=600)
    db_idle_in_transaction_timeout_s: float = Field(default=10.0, gt=0, le=600)
    # The budget of a request. Below what a leaving server waits for requests in hand (server.FINISH_TIMEOUT_S).
    request_timeout_s: float = Field(default=8.0, gt=0, lt=10)
    drain_s: float = Field(default=2.0, ge=0, le=300)
    # on: a successor may listen on the same port before this process leaves, where no gateway takes replicas in turn.
    share_port: Literal["on", "off"] = "off"

    # Who signs the tokens of callers (OpenID Connect), and for whom they have to be meant.
    sign_in: Literal["required", "off"] = "required"
    issuer_url: str = DEVELOPMENT_ISSUER  # to the letter as in its tokens, a slash at the end included
    audience: str = "signalbox"
    # Which claim holds the id of a user of ours, and which, comma separated, hold scopes (service.edge.signin.Claims).
    user_claim: str = Field(default="sub", min_length=1)
    scope_claim: str = Field(default="scope", min_length=1)
    # As which client of the issuer we ask payments, and for what: the issuer's name of the scope charges:write.
    client_id: str = Field(default="signalbox", min_length=1)
    client_secret: str = Field(default="", repr=False)
    payments_scope: str = "charges:write"
    # Comma separated: the first signs, each is accepted.
    cursor_keys: str = Field(default=DEVELOPMENT_CURSOR_KEY, repr=False, min_length=16)
    # REQUESTS/SECONDS for one client and one route; the second by route, e.g. {"POST /v1/orders": "60/60"}.
    rate_limit: str = "600000/60"
    rate_limits: dict[str, str] = {}
    # Whose word on a caller's address is taken: loopback and private networks, where the gateway stands.
    trusted_proxies: str = "127.0.0.0/8,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16"

    # on: the network itself encrypts between processes, so production may name addresses without TLS.
    mesh: Literal["on", "off"] = "off"
    # Where passwords and keys come from (service.secrets); empty: they stand in the settings themselves.
    secrets: str = ""
    docs: Literal["on", "off"] = "on"
    faults: Literal["on", "off"] = "on"
    fault_seed: int = 0
    # A fault that is on from the start: how a bad version is rehearsed. Ignored where faults are not allowed.
    defect: str = ""
    defect_percent: float = Field(default=100, ge=0, le=100)

    @field_validator("database_url")
    @classmethod
    def _asyncpg_only(cls, url: str) -> str:
        if url and not url.startswith("postgresql+asyncpg://"):
            raise ValueError("must start with postgresql+asyncpg://")
        return url

    @field_validator("replica_urls")
    @classmethod
    def _are_replicas(cls, urls: str) -> str:
        if len(_parts(urls)) > MOST_REPLICAS:
            raise ValueError(f"names more than {MOST_REPLICAS}")
        for url in _parts(urls):
            cls._asyncpg_only(url)
        return urls

    @field_validator("rate_limit")
    @classmethod
    def _is_policy(cls, text: str) -> str:
        Policy.parse(text)
        return text

    @field_validator("rate_limits")
    @classmethod
    def _are_policies(cls, texts: dict[str, str]) -> dict[str, str]:
        for text in texts.values():
            Policy.parse(text)
        return texts

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment goes before the file of its name, the file before the defaults below. Stage has only what
        differs from production.
        """
        name = os.environ.get("SIGNALBOX_ENVIRONMENT", "development")
        files = [ENVIRONMENTS / f"{one}.toml" for one in (("production", name) if name == "stage" else (name,))]
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, files)

    @property
    def instance_id(self) -> str:
        """Name of this process among its replicas, e.g. ``api-1``."""
        return self.instance or self.service_name

    @property
    def replicas(self) -> list[str]:
        """Addresses of the database's read replicas."""
        return _parts(self.replica_urls)

    @property
    def counting_url(self) -> str:
        """Where requests are counted."""
        return self.quota_url or self.valkey_url

    @property
    def faults_allowed(self) -> bool:
        """Whether faults may be switched on: only ever in development."""
        return self.environment == "development" and self.faults == "on"


def find_refusals(settings: Settings, *, filled_in: bool = False) -> list[str]:
    """What production must not be, each by its name and with a remedy; nor stage, except for what its file says.

    What may come from another place is judged when it has been there: in settings that are ``filled_in``.
    """
    if settings.environment == "development":
        return []
    issuer, database, valkey, quotas = (
        urlsplit(url)
        for url in (settings.issuer_url, settings.database_url, settings.valkey_url, settings.counting_url)
    )
    open_wire = settings.mesh == "off"
    from_elsewhere = bool(settings.secrets) and not filled_in
    known_keys = DEVELOPMENT_CURSOR_KEY in settings.cursor_keys.split(",")
    found = {
        "FAULTS: faults can be switched on; set it to off": settings.faults == "on",
        "DOCS: the API's description is open to everybody; set it to off": settings.docs == "on"
        and settings.environment == "production",
        "SIGN_IN: nobody has to sign in; set it to required": settings.sign_in == "off",
        "ISSUER_URL: the development issuer, or one without TLS; name yours with https://": (
            issuer.hostname in _LOOPBACK or (open_wire and issuer.scheme != "https")
        ),
        "DATABASE_URL: without TLS; add ?ssl=verify-full, or ?ssl=require": open_wire and not _asks_for_tls(database),
        "REPLICA_URLS: without TLS; add ?ssl=verify-full, or ?ssl=require": (
            open_wire and not all(_asks_for_tls(urlsplit(url)) for url in settings.replicas)
        ),
        "VALKEY_URL: without TLS; begin it with rediss://": open_wire and valkey.scheme != "rediss",
        "QUOTA_URL: without TLS; begin it with rediss://": (
            open_wire and bool(settings.quota_url) and quotas.scheme != "rediss"
        ),
        "SECRETS: Vault without TLS; name it with https://, or an agent on this machine": (
            open_wire and _is_plain_vault(settings.secrets)
        ),
        "CURSOR_KEYS: the key that everybody knows; set one of your own": known_keys and not from_elsewhere,
        "CLIENT_SECRET: none, and without it payments believe nobody; set the one that your issuer gave": (
            settings.service_name in ("api", "worker") and not settings.client_secret and not from_elsewhere
        ),
        "DATABASE_URL: no password, or one that everybody tries": (database.password or "") in _KNOWN_PASSWORDS
        and not from_elsewhere,
        "VALKEY_URL: no password, or one that everybody tries": (valkey.password or "") in _KNOWN_PASSWORDS
        and not from_elsewhere,
        "QUOTA_URL: no password, or one that everybody tries": bool(settings.quota_url)
        and (quotas.password or "") in _KNOWN_PASSWORDS
        and not from_elsewhere,
        "TRUSTED_PROXIES: anybody may say who he is; name the gateway's network": _trusts_everybody(
            settings.trusted_proxies
        ),
    }
    return [f"SIGNALBOX_{reason}" for reason, applies in found.items() if applies]


def _asks_for_tls(database: SplitResult) -> bool:
    """Whether no connection is made without it; left to itself the driver takes what it gets."""
    return parse_qs(database.query).get("ssl", [""])[-1] in ("require", "verify-ca", "verify-full")


def _is_plain_vault(place: str) -> bool:
    kind, _, address = place.partition(":")
    parts = urlsplit(address)
    return kind == "vault" and parts.scheme != "https" and parts.hostname not in _LOOPBACK


def _trusts_everybody(proxies: str) -> bool:
    """Whether a list of addresses and networks has one that holds every address."""
    return any(one == "*" or one.endswith("/0") for one in _parts(proxies))


async def fill_in(settings: Settings, place: Secrets) -> Settings:
    """``settings`` with the secrets that are read once, at the start: those that ``place`` has go before their own.

    The database's password is read again for every new connection (``secrets.Rotating``); here it is for commands that
    come and go. Raises ``SecretsUnavailable``.
    """
    changes: dict[str, object] = {}
    if keys := await place.read("cursor_keys"):
        changes["cursor_keys"] = keys
    if secret := await place.read("client_secret"):
        changes["client_secret"] = secret
    if password := await place.read("valkey_password"):
        changes["valkey_url"] = _with_password(settings.valkey_url, password)
        if settings.quota_url:
            changes["quota_url"] = _with_password(settings.quota_url, password)
    if password := await place.read("database_password"):
        changes["database_url"] = _with_password(settings.database_url, password)
    return settings.model_copy(update=changes)


def _with_password(url: str, password: str) -> str:
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{user.partition(':')[0]}:{quote(password, safe='')}@{host}").geturl()


def load_settings(service_name: ServiceName) -> Settings:
    """Settings of a process started as ``service_name``; the environment may name the service otherwise.

    Raises ``pydantic.ValidationError`` when a setting is missing or out of bounds, and ``SettingsRefused`` with all the
    reasons at once when production would run with what is for development.
    """
    settings = Settings()  # type: ignore[call-arg]  # the required fields come from the environment
    if "service_name" not in settings.model_fields_set:
        settings = settings.model_copy(update={"service_name": service_name})
    if reasons := find_refusals(settings):
        raise SettingsRefused(reasons)
    return settings
