"""Settings come from the environment alone, are bounded, and do not show passwords."""

from __future__ import annotations

import os

import pytest
from pydantic import ValidationError

from service.settings import load_settings

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
        ("production", "on", False),
    ],
)
def test_faults_are_allowed_in_development_only(
    monkeypatch: pytest.MonkeyPatch, environment: str | None, faults: str | None, allowed: bool
) -> None:
    for name, value in (("SIGNALBOX_ENVIRONMENT", environment), ("SIGNALBOX_FAULTS", faults)):
        if value is not None:
            monkeypatch.setenv(name, value)
    assert load_settings("api").faults_allowed is allowed


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "mysql://hunter2@db/x"),
        ("REPLICA_URL", "postgresql://hunter2@db/x"),
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


def test_there_is_no_default_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SIGNALBOX_DATABASE_URL")
    with pytest.raises(ValidationError, match="database_url"):
        load_settings("api")


def test_addresses_with_passwords_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGNALBOX_REPLICA_URL", DATABASE)
    monkeypatch.setenv("SIGNALBOX_VALKEY_URL", "redis://:hunter2@127.0.0.1/0")
    settings = load_settings("api")
    assert "hunter2" not in repr(settings)
    assert "hunter2" not in str(settings)
