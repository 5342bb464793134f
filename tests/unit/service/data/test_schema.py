"""The schema's history is one line of versions, and the queue's tables are those that PgQueuer expects."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from alembic.script import ScriptDirectory
from pgqueuer.adapters.persistence.schema_ddl import render_install
from pgqueuer.domain.settings import DBSettings

from service.data import migrations


def version(name: str) -> ModuleType:
    path = Path(migrations.__file__).parent / "versions" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"version_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_versions_form_one_line() -> None:
    scripts = ScriptDirectory.from_config(migrations.build_config())
    assert len(scripts.get_heads()) == 1
    line = list(scripts.walk_revisions())
    files = list((Path(migrations.__file__).parent / "versions").glob("[0-9]*.py"))
    assert [script.revision for script in reversed(line)] == sorted(path.name.split("_")[0] for path in files)


def test_contracts_at_the_end_wait_until_they_are_asked_for() -> None:
    config = migrations.build_config()
    newest_first = list(ScriptDirectory.from_config(config).walk_revisions())
    last = newest_first[0]
    assert migrations.target(config, contract=True) == last.revision
    expected = next(script for script in newest_first if getattr(script.module, "phase", "") != "contract")
    assert migrations.target(config, contract=False) == expected.revision
    assert expected is not last, "the newest version is a contract"


def test_the_queue_is_what_the_installed_pgqueuer_declares(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails after an upgrade that changes the tables: then a new version has to change them too."""
    for name in ("PGQUEUER_PREFIX", "PGQUEUER_SCHEMA"):
        monkeypatch.delenv(name, raising=False)
    declared = render_install(DBSettings()).split("\n", 1)[1]  # less the line that names the release
    ours = "".join(version("0002_queue").STATEMENTS)
    assert "".join(ours.split()) == "".join(declared.split())
