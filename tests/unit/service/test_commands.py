"""Wrong use, wrong settings and a missing database end in one line that names the remedy, and shows no password."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.__main__ import main
from service.telemetry.testing import former_door


@pytest.fixture(autouse=True)
def door() -> Iterator[None]:
    """A command builds a telemetry of its own, as a process of its own does."""
    with former_door():
        yield


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("SIGNALBOX_")]:
        monkeypatch.delenv(name)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setenv("SIGNALBOX_OTLP_URL", "")
    monkeypatch.setenv("SIGNALBOX_DATABASE_URL", f"postgresql+asyncpg://signalbox:hunter2@127.0.0.1:{port}/signalbox")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("POOL_SIZE", "none", "service: SIGNALBOX_POOL_SIZE: Input should be a valid integer"),
        (
            "DATABASE_URL",
            "hunter2",
            "service: SIGNALBOX_DATABASE_URL: Value error, must start with postgresql+asyncpg://",
        ),
        ("DATABASE_URL", None, "service: SIGNALBOX_DATABASE_URL: Field required"),
    ],
)
def test_a_wrong_setting_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str | None, words: str
) -> None:
    if value is None:
        monkeypatch.delenv(f"SIGNALBOX_{name}")
    else:
        monkeypatch.setenv(f"SIGNALBOX_{name}", value)
    assert main(["api", "--port", "1"]) == 2
    complaint = capsys.readouterr().err
    assert complaint.startswith(words)
    assert "hunter2" not in complaint
    assert len(complaint.splitlines()) == 1


@pytest.mark.parametrize(("arguments", "words"), [(["api"], "--port"), (["gateway"], "gateway"), ([], "COMMAND")])
def test_wrong_use_ends_with_2(capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("command", ["migrate", "seed"])
def test_a_command_without_its_database_fails_in_one_line(capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert main([command]) == 1
    complaint = capsys.readouterr().err
    assert complaint.startswith(f"service: {command} failed: ")
    assert len(complaint.splitlines()) == 1
    assert "hunter2" not in complaint


def test_the_development_issuer_is_refused_elsewhere_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {
        "ENVIRONMENT": "stage",
        "ISSUER_URL": "https://login.example.com",
        "CURSOR_KEYS": "3f1c9be27d0a4e55",
        "DATABASE_URL": "postgresql+asyncpg://shop:k3uW-9dQ2@db/shop?ssl=verify-full",
        "VALKEY_URL": "rediss://:x7Yt-44fP@cache:6379/0",
    }.items():
        monkeypatch.setenv(f"SIGNALBOX_{name}", value)
    assert main(["issuer", "--port", "1"]) == 2
    said = capsys.readouterr().err
    assert said == "service: SIGNALBOX_ENVIRONMENT: the development issuer is for development only\n"


def test_production_is_judged_again_when_its_secrets_have_been_read(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A place that lacks one must not leave the value that everybody knows."""
    for name, value in {
        "ENVIRONMENT": "production",
        "ISSUER_URL": "https://login.example.com",
        "DATABASE_URL": "postgresql+asyncpg://shop@db/shop?ssl=require",
        "VALKEY_URL": "rediss://cache:6379/0",
        "SECRETS": f"files:{tmp_path}",
    }.items():
        monkeypatch.setenv(f"SIGNALBOX_{name}", value)
    (tmp_path / "database_password").write_text("a long one of our own")
    (tmp_path / "valkey_password").write_text("signalbox")
    assert main(["payments", "--port", "1"]) == 2
    complaint = capsys.readouterr().err
    assert "CURSOR_KEYS: the key that everybody knows" in complaint
    assert "VALKEY_URL: no password, or one that everybody tries" in complaint
    assert "DATABASE_URL" not in complaint
