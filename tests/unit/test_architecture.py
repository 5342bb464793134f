"""Who may know whom (docs/architecture.md), read off the imports of every module."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PACKAGES = ("service", "slo", "incidents", "stack")
MAY_IMPORT = {"service": set(), "slo": set(), "incidents": set(), "stack": {"slo", "incidents"}}
DOOR_ONLY = {"opentelemetry", "prometheus_client", "prometheus_fastapi_instrumentator", "pythonjsonlogger"}
NOUNS = ("users", "catalog", "orders", "payments")
REFUSED_NAMES = {"utils", "util", "common", "core", "helpers", "helper", "manager", "misc", "base"}


def modules(package: str = "") -> list[Path]:
    folders = [package] if package else PACKAGES
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Dotted names of all modules that ``path`` imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_meet_in_data_not_in_imports(package: str) -> None:
    for path in modules(package):
        for name in imports(path):
            top = name.split(".")[0]
            if top in PACKAGES and top != package:
                assert top in MAY_IMPORT[package], f"{name_of(path)} imports {name}"


def test_only_the_door_imports_telemetry_libraries() -> None:
    for path in modules():
        if "telemetry" in path.relative_to(ROOT).parts:
            continue
        for name in imports(path):
            assert name.split(".")[0] not in DOOR_ONLY, f"{name_of(path)} imports {name}"


@pytest.mark.parametrize("noun", NOUNS)
def test_http_knows_workflow_knows_model_and_not_the_other_way(noun: str) -> None:
    forbidden = {
        "model": ("http", "workflow", "repository", "client"),
        "workflow": ("http", "repository", "client"),
        "repository": ("http", "workflow"),
    }
    for path in modules(f"service/{noun}"):
        for name in imports(path):
            if not name.startswith(f"service.{noun}."):
                continue
            target = name.split(".")[2]
            for layer in forbidden.get(path.stem, ()):
                assert not target.endswith(layer), f"{name_of(path)} imports {name}"


def test_parts_do_not_know_who_puts_them_together() -> None:
    """``service.processes`` sees the parts, the command alone sees ``service.processes``, by the command's name."""
    roots = {name_of(path) for path in modules("service/processes")} | {"service.app", "service.__main__"}
    for path in modules("service"):
        for name in imports(path):
            if name_of(path) not in roots:
                assert not name.startswith(("service.app", "service.processes")), f"{name_of(path)} imports {name}"


# What a process is not made of, it does not load: each of these is memory in every copy of it.
NOT_LOADED = {
    "issuer": {"sqlalchemy", "asyncpg", "pgqueuer", "redis", "httpx2", "alembic"},
    "payments": {"pgqueuer", "redis", "alembic"},
    "worker": {"jwt", "alembic"},
    "api": {"alembic"},
}
LOADED = """
import importlib, json, sys
for name in ("service.__main__", "service.server", f"service.processes.{sys.argv[1]}"):
    importlib.import_module(name)
print(json.dumps(sorted(name for name in sys.modules if "." not in name)))
"""


@pytest.mark.parametrize("process", NOT_LOADED)
def test_a_process_loads_no_library_that_it_does_not_use(process: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADED, process], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    loaded = set(json.loads(done.stdout))
    assert "uvicorn" in loaded
    assert not loaded & NOT_LOADED[process]


def test_modules_have_names_that_say_something() -> None:
    assert not [name_of(path) for path in modules() if set(name_of(path).split(".")) & REFUSED_NAMES]


def test_every_module_says_what_it_owns() -> None:
    for path in modules():
        if "versions" in path.parts:
            continue
        text = path.read_text()
        assert not text.strip() or ast.get_docstring(ast.parse(text)), f"{name_of(path)} has no docstring"


IMPORT_PROBE = """
import importlib, json, os, sys, threading
names = json.loads(sys.argv[1])
for name in names:
    importlib.import_module(name)          # third-party modules do their own things; that happens here
ours = {name.split(".")[0] for name in names}
for name in [name for name in sys.modules if name.split(".")[0] in ours]:
    del sys.modules[name]
seen = []
def watch(event, details):
    if event == "open" and not str(details[0]).endswith((".py", ".pyc")) and "__pycache__" not in str(details[0]):
        seen.append(f"opens {details[0]}")
    elif event.startswith(("socket.connect", "socket.bind", "subprocess.", "os.mkdir", "os.remove", "os.rename")):
        seen.append(event)
class Watched(dict):
    def get(self, key, default=None):
        if not key.startswith("PYDANTIC_"):   # read by the library when a class is defined
            seen.append(f"reads ${key}")
        return dict.get(self, key, default)
    __getitem__ = get
os.environ = Watched(os.environ)
sys.addaudithook(watch)
threads = threading.active_count()
for name in names:
    before = len(seen)
    module = importlib.import_module(name)
    seen[before:] = [f"{name} {what}" for what in seen[before:]]
    for key, value in vars(module).items():
        if type(value).__name__ in ("FastAPI", "AsyncEngine", "Engine", "CollectorRegistry", "Redis", "AsyncClient"):
            seen.append(f"{name} makes {key}, a {type(value).__name__}")
if threading.active_count() != threads:
    seen.append("starts threads")
print(json.dumps(sorted(set(seen))))
"""


def test_importing_a_module_does_nothing() -> None:
    """No I/O, no environment read, no thread, no app, engine or registry: seen by audit hooks while importing."""
    skipped = {"__main__", "env"}  # a command's entry, and the file that alembic runs as a script
    names = [name_of(path).removesuffix(".__init__") for path in modules() if path.stem not in skipped]
    names = [name for name in names if ".versions." not in name]
    probe = subprocess.run(
        [sys.executable, "-c", IMPORT_PROBE, json.dumps(names)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert probe.returncode == 0, probe.stderr[-2000:]
    assert json.loads(probe.stdout) == []
