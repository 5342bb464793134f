"""Settings come from the environment alone, are bounded, and do not show passwords."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest
from pydantic import ValidationError

from service.settings import ENVIRONMENTS, SettingsRefused, load_settings

DATABASE = "postgresql+asyncpg://signalbox:hunter2@127.0.0.1:1/signalbox"


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("SIGNALBOX_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SIGNALBOX_DATABASE_URL", DATABASE)


def test_a_process_is_named_after_its_command_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings("worker").service_name == load_settings("worker").instance_id == "worker"
    monkeypatch.setenv("SIGNALBOX_INSTANCE", "api-1")
    assert load_settings("api").instance_id == "api-1"
    monkeypatch.setenv("SIGNALBOX_SERVICE_NAME", "payments")
    assert load_settings("api").service_name == "payments"


@pytest.mark.parametrize(
    ("environment", "faults", "allowed"),
    [
        (None, None, True),
        ("development", "on", True),
        ("development", "off", False),
        ("stage", None, False),
    ],
)
def test_faults_are_allowed_in_development_only(
    monkeypatch: pytest.MonkeyPatch, environment: str | None, faults: str | None, allowed: bool
) -> None:
    for name, value in (("SIGNALBOX_ENVIRONMENT", environment), ("SIGNALBOX_FAULTS", faults)):
        if value is not None:
            monkeypatch.setenv(name, value)
    if environment == "stage":
        set_all(monkeypatch, {**GOOD_PRODUCTION, "ENVIRONMENT": environment})
    assert load_settings("api").faults_allowed is allowed


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "mysql://hunter2@db/x"),
        ("REPLICA_URLS", "postgresql://hunter2@db/x"),
        ("REPLICA_URLS", f"{DATABASE},postgresql://hunter2@db/x"),
        ("REPLICA_URLS", ",".join([DATABASE] * 9)),
        ("POOL_SIZE", "0"),
        ("POOL_SIZE", "many"),
        ("DRAIN_S", "-1"),
        ("ENVIRONMENT", "prod"),
        ("FAULTS", "perhaps"),
        ("SERVICE_NAME", "gateway"),
    ],
)
def test_a_setting_out_of_bounds_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"SIGNALBOX_{name}", value)
    with pytest.raises(ValidationError) as refused:
        load_settings("api")
    assert [error["loc"] for error in refused.value.errors()] == [(name.lower(),)]


def test_there_may_be_several_replicas_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings("api").replicas == []
    monkeypatch.setenv("SIGNALBOX_REPLICA_URLS", f"{DATABASE}, {DATABASE}2")
    assert load_settings("api").replicas == [DATABASE, f"{DATABASE}2"]


def test_there_is_no_default_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SIGNALBOX_DATABASE_URL")
    with pytest.raises(ValidationError, match="database_url"):
        load_settings("api")


def test_addresses_with_passwords_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGNALBOX_REPLICA_URLS", DATABASE)
    monkeypatch.setenv("SIGNALBOX_VALKEY_URL", "redis://:hunter2@127.0.0.1/0")
    settings = load_settings("api")
    assert "hunter2" not in repr(settings)
    assert "hunter2" not in str(settings)


GOOD_PRODUCTION = {
    "ENVIRONMENT": "production",
    "ISSUER_URL": "https://login.example.com/shop",
    "CURSOR_KEYS": "3f1c9be27d0a4e55",
    "CLIENT_SECRET": "9mX3-27qK",
    "DATABASE_URL": "postgresql+asyncpg://signalbox:k3uW-9dQ2@db/signalbox?ssl=verify-full",
    "VALKEY_URL": "rediss://:x7Yt-44fP@valkey/0",
}


# Addresses of production without TLS.
PLAIN = {
    "ISSUER_URL": "http://login.example.com",
    "DATABASE_URL": "postgresql+asyncpg://signalbox:k3uW-9dQ2@db/signalbox",
    "REPLICA_URLS": "postgresql+asyncpg://signalbox:k3uW-9dQ2@db/signalbox",
    "VALKEY_URL": "redis://:x7Yt-44fP@valkey/0",
    "QUOTA_URL": "redis://:x7Yt-44fP@quotas/0",
    "SECRETS": "vault:http://vault:8200/secret/app",
}


def set_all(monkeypatch: pytest.MonkeyPatch, values: dict[str, str]) -> None:
    for name, value in values.items():
        monkeypatch.setenv(f"SIGNALBOX_{name}", value)


def test_each_environment_has_a_file_and_production_starts_with_what_is_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert {file.stem for file in ENVIRONMENTS.glob("*.toml")} == {"development", "stage", "production"}
    assert load_settings("api").docs == "on"
    set_all(monkeypatch, GOOD_PRODUCTION)
    settings = load_settings("api")
    assert (settings.docs, settings.faults, settings.sign_in) == ("off", "off", "required")
    assert settings.rate_limits["POST /v2/orders"] == "60/60"
    monkeypatch.setenv("SIGNALBOX_POOL_SIZE", "7")
    assert load_settings("api").pool_size == 7, "the environment goes before the file"


def test_stage_is_production_but_for_what_its_file_says(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, GOOD_PRODUCTION)
    production = load_settings("api").model_dump()
    monkeypatch.setenv("SIGNALBOX_ENVIRONMENT", "stage")
    stage = load_settings("api").model_dump()
    differs = {name for name in stage if stage[name] != production[name]}
    assert differs == {"environment"} | set(tomllib.loads((ENVIRONMENTS / "stage.toml").read_text()))
    assert differs == {"environment", "pool_size", "docs"}


@pytest.mark.parametrize("environment", ["stage", "production"])
def test_all_that_is_refused_is_named_at_once(monkeypatch: pytest.MonkeyPatch, environment: str) -> None:
    wrong = {"FAULTS": "on", "DOCS": "on", "SIGN_IN": "off", "TRUSTED_PROXIES": "*"}
    set_all(monkeypatch, {"ENVIRONMENT": environment, **wrong})
    if environment == "stage":
        del wrong["DOCS"]
    monkeypatch.setenv("SIGNALBOX_DATABASE_URL", "postgresql+asyncpg://signalbox:signalbox@db/signalbox")
    with pytest.raises(SettingsRefused) as refused:
        load_settings("api")
    named = {reason.split(":")[0].removeprefix("SIGNALBOX_") for reason in refused.value.reasons}
    assert sorted(named) == sorted([*wrong, "ISSUER_URL", "CLIENT_SECRET", "CURSOR_KEYS", "DATABASE_URL", "VALKEY_URL"])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FAULTS", "on"),
        ("DOCS", "on"),
        ("SIGN_IN", "off"),
        ("TRUSTED_PROXIES", "10.0.0.0/8, 0.0.0.0/0"),
        ("TRUSTED_PROXIES", "::/0"),
        ("ISSUER_URL", "https://localhost:8190"),
        ("CLIENT_SECRET", ""),
        ("CURSOR_KEYS", "3f1c9be27d0a4e55,development-cursor-key"),
        ("DATABASE_URL", "postgresql+asyncpg://signalbox@db/signalbox?ssl=require"),
        ("VALKEY_URL", "rediss://valkey/0"),
        *PLAIN.items(),
        ("DATABASE_URL", "postgresql+asyncpg://signalbox:k3uW-9dQ2@db/signalbox?ssl=prefer"),
        ("DATABASE_URL", "postgresql+asyncpg://signalbox:k3uW-9dQ2@db/signalbox?ssl=require&ssl=disable"),
        ("QUOTA_URL", "rediss://quotas/0"),
    ],
)
def test_production_refuses_each_development_default(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    set_all(monkeypatch, {**GOOD_PRODUCTION, name: value})
    with pytest.raises(SettingsRefused, match=f"^SIGNALBOX_{name}: "):
        load_settings("api")


def test_production_takes_addresses_without_tls_where_the_network_encrypts(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, {**GOOD_PRODUCTION, **PLAIN, "MESH": "on"})
    assert load_settings("api").mesh == "on"
    monkeypatch.setenv("SIGNALBOX_ISSUER_URL", "http://127.0.0.1:8190")
    with pytest.raises(SettingsRefused, match="the development issuer"):
        load_settings("api")


@pytest.mark.parametrize("place", ["vault:https://vault:8200/secret/app", "vault:http://127.0.0.1:8100/secret/app"])
def test_vault_is_asked_over_tls_or_through_an_agent_on_the_machine(
    monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    set_all(monkeypatch, {**GOOD_PRODUCTION, "SECRETS": place})
    assert load_settings("api").secrets == place


def test_who_asks_payments_nothing_needs_no_secret_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, {**GOOD_PRODUCTION, "CLIENT_SECRET": ""})
    assert load_settings("payments").service_name == "payments"
    with pytest.raises(SettingsRefused, match="CLIENT_SECRET"):
        load_settings("worker")


def test_a_file_with_a_setting_that_nobody_knows_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "stage.toml").write_text("pool_sizes = 3\n")
    monkeypatch.setattr("service.settings.ENVIRONMENTS", tmp_path)
    monkeypatch.setenv("SIGNALBOX_ENVIRONMENT", "stage")
    with pytest.raises(ValidationError, match="pool_sizes"):
        load_settings("api")
