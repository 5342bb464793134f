"""The running stack as a fixture, and the rule on missing backends: a loud skip here, a failure under CI."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from stack import form
from stack.container.engine import Engine
from stack.layout import Layout

# How fast inputs are made says something about the machine, not about us.
settings.register_profile("any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-machine")

# What runs is tested; when nothing does, an engine that happens to be there must not change what is:
# `make test-compose` asks for containers.
os.environ.setdefault("SIGNALBOX_FORM", form.running(Layout.from_environment()) or "native")

ROOT = Path(__file__).parent.parent
STATE = Path(os.environ.get("SIGNALBOX_STATE", ROOT / ".signalbox"))
CLOCK = 20.0  # rule windows a twentieth of their length: a page in seconds


@dataclass(frozen=True)
class Stack:
    """A stack that is ready. ``urls`` by component name; ``signalbox`` runs the command as a user would."""

    urls: dict[str, str]
    state_dir: Path
    clock: float
    port_offset: int

    def signalbox(self, *arguments: str, timeout_s: float = 180) -> subprocess.CompletedProcess[str]:
        return signalbox(*arguments, timeout_s=timeout_s)

    def status(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.signalbox("status", "--json").stdout)
        return document

    def component(self, name: str) -> dict[str, Any]:
        return next(part for part in self.status()["components"] if part["name"] == name)

    def secret(self, name: str) -> str:
        """A password of the stack, from where its form keeps them."""
        if os.environ["SIGNALBOX_FORM"] == "native":
            return (self.state_dir / "secrets" / name).read_text().strip()
        words = ["exec", container_of(self, "postgres"), "cat", f"/run/secrets/{name}"]
        return subprocess.run(["docker", *words], capture_output=True, text=True, check=True).stdout.strip()


def container_of(stack: Stack, service: str, *, every: bool = False) -> str:
    """The id of a service's container, in the container form; one that does not run too, if `every` will do."""
    project = Engine(Layout(ROOT, stack.state_dir, stack.port_offset)).project
    filters = [f"label=com.docker.compose.project={project}", f"label=com.docker.compose.service={service}"]
    words = ["ps", *(["--all"] if every else []), "--quiet", *(word for one in filters for word in ("--filter", one))]
    return subprocess.run(["docker", *words], capture_output=True, text=True, check=True).stdout.strip()


def signalbox(*arguments: str, timeout_s: float = 180) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stack", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Tests that are coroutines run on asyncio, as everything here does."""
    return "asyncio"


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The stack at the tests' clock. One that is up already is used and left as it was found."""
    before = read_state()
    up = signalbox("up", "--clock", str(CLOCK), timeout_s=2700)
    if up.returncode != 0:
        missing_backend(f"the stack did not come up:\n{up.stderr[-4000:]}")
    state = read_state()
    assert state is not None, f"no state document in {STATE}"
    urls = {name: url for name, url in state["urls"].items() if url}
    yield Stack(urls, STATE, state["clock"], state["port_offset"])
    if before is None:
        signalbox("down")
    elif before["clock"] != state["clock"]:
        signalbox("up", "--clock", str(before["clock"]))


def read_state() -> dict[str, Any] | None:
    """State document of a stack that is running, None when none is."""
    status = signalbox("status", "--json")
    if status.returncode != 0:
        return None
    document: dict[str, Any] = json.loads((STATE / "run" / "state.json").read_text())
    return document


def missing_backend(reason: str) -> None:
    """Skip loudly; under CI nothing may be missing."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
