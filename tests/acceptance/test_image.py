"""The image: what is inside, what it is made of, how large it is, how soon it serves."""

from __future__ import annotations

import json
import re
import subprocess
import tarfile
import time
import tomllib
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

import pytest

from stack.container.engine import Engine
from stack.layout import Layout
from stack.native.launch import read_wish
from tests.acceptance.test_containers import docker
from tests.conftest import ROOT, Stack

pytestmark = pytest.mark.compose_only
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
IMAGE = f"signalbox:{PROJECT['version']}"
MOST_BYTES, MOST_SECONDS = 150_000_000, 1.0
NO_DATABASE = "postgresql+asyncpg://nobody:nothing@127.0.0.1:1/nowhere"  # refused at once: how it starts is asked
BUILD_TOOLS = ("pip", "pip3", "cc", "gcc", "make", "git", "curl", "apt-get")
LET_IN = ("docs/runbooks", "incidents", "pyproject.toml", "service", "slo", "stack")


def inside(*command: str) -> str:
    """What a command prints in a container of the image that has no network."""
    return docker("run", "--rm", "--network", "none", "--read-only", "--entrypoint", command[0], IMAGE, *command[1:])


def test_inside_are_the_files_that_run_compiled_and_no_others(stack: Stack) -> None:
    """Proves .dockerignore, by listing."""
    listed = subprocess.run(["git", "ls-files", *LET_IN], cwd=ROOT, capture_output=True, text=True, check=True)
    wanted = {path for path in listed.stdout.split() if not path.startswith("stack/recipes/")}
    found = set(inside("find", "/app", "-type", "f", "-printf", "%P\n").split())
    compiled = {path for path in found if path.endswith(".pyc")}
    assert found - compiled == wanted
    assert {re.sub(r"__pycache__/(\w+)\.cpython-\d+\.pyc$", r"\1.py", path) for path in compiled} == {
        path for path in wanted if path.endswith(".py")
    }


def test_what_builds_is_not_in_what_runs(stack: Stack) -> None:
    script = "import shutil; print([name for name in %r if shutil.which(name, path='/opt/venv/bin:/usr/local/bin')])"
    assert inside("python", "-c", script % (BUILD_TOOLS,)).strip() == "[]"
    assert "/build" not in inside("find", "/", "-maxdepth", "1").split()


def test_the_bill_of_materials_names_the_locked_packages(stack: Stack) -> None:
    bill = json.loads(inside("cat", "/opt/venv/share/sbom/signalbox.cdx.json"))
    assert bill["bomFormat"] == "CycloneDX"
    named = {part["name"].lower().replace("_", "-"): part["version"] for part in bill["components"]}
    lock = (ROOT / "requirements.image.lock").read_text()
    locked = dict(re.findall(r"^([\w.-]+)(?:\[[\w,-]+\])?==([^\s;\\]+)", lock, re.M))
    assert named.items() <= {name.replace("_", "-"): version for name, version in locked.items()}.items()
    dependencies = {re.match(r"[\w.-]+", line)[0].lower() for line in PROJECT["dependencies"]}  # type: ignore[index]
    assert dependencies <= set(named)


@pytest.mark.timeout(600)  # nothing is taken from the engine's cache
def test_built_again_it_has_the_same_bytes(stack: Stack, tmp_path: Path) -> None:
    """Every file, folder, link and deletion of every layer; the times of folders and deletions are the engine's."""
    layout = Layout(ROOT, stack.state_dir, stack.port_offset)
    first = contents(tmp_path / "first.tar")
    wish, engine = read_wish(layout), Engine(layout)
    command, environment = engine.compose(wish, "build", "--no-cache", "prepare"), dict(engine.variables(wish))
    built = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=500)
    assert built.returncode == 0, built.stderr[-2000:]
    again = contents(tmp_path / "again.tar")
    assert len(first) > 5_000
    assert {path for path in {*first, *again} if first.get(path) != again.get(path)} == set()


def contents(archive: Path) -> dict[tuple[int, str], tuple[object, ...]]:
    """Layer and path → what is there. `archive` is used and removed."""
    docker("save", "--output", str(archive), IMAGE)
    found: dict[tuple[int, str], tuple[object, ...]] = {}
    with tarfile.open(archive) as image:
        [manifest] = json.loads(read_member(image, "manifest.json"))
        for number, name in enumerate(manifest["Layers"]):
            with tarfile.open(fileobj=image.extractfile(name)) as layer:
                for one in layer:
                    content = sha256(read_member(layer, one.name)).digest() if one.isreg() else b""
                    time_of_file = one.mtime if one.isreg() and "/.wh." not in one.name else 0
                    found[number, one.name] = (
                        one.type,
                        one.mode,
                        one.uid,
                        one.gid,
                        one.linkname,
                        time_of_file,
                        content,
                    )
    archive.unlink()
    return found


def read_member(archive: tarfile.TarFile, name: str) -> bytes:
    """A file of an archive, whole."""
    file = archive.extractfile(name)
    assert file
    return file.read()


def test_labels_say_what_it_is(stack: Stack) -> None:
    labels = json.loads(docker("image", "inspect", IMAGE))[0]["Config"]["Labels"]
    named = {name.removeprefix("org.opencontainers.image."): text for name, text in labels.items()}
    assert named["version"] == PROJECT["version"]
    assert named["licenses"] == PROJECT["license"]
    assert re.fullmatch(r"[0-9a-f]{12}|unknown", named["revision"])


def test_our_own_layers_are_below_150_megabytes(stack: Stack) -> None:
    base = next(line.split()[1] for line in (ROOT / "Dockerfile").read_text().splitlines() if line[:5] == "FROM ")
    size = {name: json.loads(docker("image", "inspect", name))[0]["Size"] for name in (IMAGE, base)}
    assert size[IMAGE] - size[base] < MOST_BYTES


def test_a_process_answers_within_a_second_of_cpu_time(stack: Stack) -> None:
    """Counted in CPU time of its container, so that what else the machine does is no part of it."""
    name = f"signalbox-start-{uuid4().hex[:8]}"
    docker(
        "run",
        "--detach",
        "--name",
        name,
        "--network",
        "none",
        "--env",
        f"SIGNALBOX_DATABASE_URL={NO_DATABASE}",
        "--env",
        "SIGNALBOX_ENVIRONMENT=development",
        IMAGE,
        "python",
        "-m",
        "service",
        "payments",
        "--port",
        "8160",
    )
    try:
        ask = "from urllib.request import urlopen as u; u('http://127.0.0.1:8160/livez', timeout=2)"
        deadline = time.monotonic() + 60
        pid = json.loads(docker("inspect", name))[0]["State"]["Pid"]
        while subprocess.run(
            ["docker", "exec", name, "python", "-c", ask], capture_output=True, check=False
        ).returncode:
            assert time.monotonic() < deadline, docker("logs", name)
        user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        assert (int(user) + int(system)) / 100 < MOST_SECONDS
    finally:
        docker("rm", "--force", name)


def test_it_is_production_unless_something_else_is_said(stack: Stack) -> None:
    words = ("--network", "none", "--env", f"SIGNALBOX_DATABASE_URL={NO_DATABASE}", IMAGE)
    command = ["docker", "run", "--rm", *words, "python", "-m", "service", "api", "--port", "8101"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "SIGNALBOX_CURSOR_KEYS: the key that everybody knows" in done.stderr


def test_nobody_has_to_be_root(stack: Stack) -> None:
    assert inside("id", "-u").strip() == "10001"
