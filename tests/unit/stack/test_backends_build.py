"""Builds from source: a tiny Go module of our own goes through the real go command, and its failures through fakes."""

import dataclasses
import json
import os
import shutil
import subprocess
import threading
import time
from pathlib import Path

import psutil
import pytest

from stack.backends import Absent, Cancelled, load_pins, probe, resolve
from stack.backends.pins import Build, Pin

pytestmark = pytest.mark.processes

GO = shutil.which("go")
needs_go = pytest.mark.skipif(GO is None, reason="go is not on PATH: builds from source are not tested")

PROGRAM = """package main

import "fmt"

var version = "0"

func main() { fmt.Println("tiny version " + version) }
"""


@pytest.fixture(autouse=True)
def _empty_cache(monkeypatch, tmp_path):
    for variable in [name for name in os.environ if name.startswith("SIGNALBOX_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("SIGNALBOX_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def recipe(tmp_path):
    """A module with two programs: `tiny` at its root and `tinyctl` below."""
    folder = tmp_path / "recipes" / "tiny"
    (folder / "tinyctl").mkdir(parents=True)
    (folder / "go.mod").write_text("module signalbox.example/tiny\n\ngo 1.21\n")
    (folder / "go.sum").touch()
    (folder / "main.go").write_text(PROGRAM)
    (folder / "tinyctl" / "main.go").write_text(PROGRAM)
    return folder


@pytest.fixture
def tiny(recipe):
    return Pin(
        name="tiny",
        version="1.2.3",
        image="example/tiny:1.2.3",
        minimum="1",
        below="2",
        executables=("signalbox-tiny", "signalbox-tinyctl"),
        version_arguments=("--version",),
        version_pattern=r"version (\d\S*)",
        cost="nothing of note",
        build=Build(
            version="1.2.3",
            module="signalbox.example/tiny",
            module_version="v1.2.3",
            packages={"signalbox-tiny": ".", "signalbox-tinyctl": "signalbox.example/tiny/tinyctl"},
            recipe=recipe,
            stamp="main.version={version}",
        ),
    )


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def put_fake_go(monkeypatch, tmp_path, body: str) -> None:
    """A go command that says its version and runs `body` for anything else, alone on PATH."""
    folder = tmp_path / "path"
    folder.mkdir()
    text = f'#!/bin/sh\n[ "$1" = version ] && echo "go version go1.26.0 linux/amd64" && exit\n{body}\n'
    (folder / "go").write_text(text)
    (folder / "go").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


@needs_go
def test_a_build_is_cached_under_its_pinned_names_and_leaves_the_recipe_alone(tiny, recipe, tmp_path):
    before = snapshot(recipe)
    found = resolve("tiny", pins={"tiny": tiny})
    assert (found.version, found.source) == ("1.2.3", "build")
    assert list(found.executables) == ["signalbox-tiny", "signalbox-tinyctl"]
    for path in found.executables.values():
        assert subprocess.run([path], capture_output=True, text=True, check=True).stdout == "tiny version 1.2.3\n"
    assert snapshot(recipe) == before

    entry = tmp_path / "cache" / "bin" / "tiny" / "1.2.3"
    assert {path.name for path in entry.iterdir()} == {"manifest.json", "signalbox-tiny", "signalbox-tinyctl"}
    manifest = json.loads((entry / "manifest.json").read_text())
    assert (manifest["source"], manifest["origin"]["module"]) == ("build", "signalbox.example/tiny@v1.2.3")

    again = resolve("tiny", pins={"tiny": tiny})
    assert (again.source, again.executables) == ("cache:build", found.executables)
    assert probe("tiny", pins={"tiny": tiny}) == again


@needs_go
def test_a_build_of_another_recipe_is_made_anew(tiny, recipe):
    resolve("tiny", pins={"tiny": tiny})
    (recipe / "main.go").write_text(PROGRAM.replace("tiny version", "tiny, changed, version"))
    assert probe("tiny", pins={"tiny": tiny}) is None
    found = resolve("tiny", pins={"tiny": tiny})
    assert found.source == "build"
    assert "the cached build of 1.2.3 is of another recipe" in found.note
    assert subprocess.run([found.main], capture_output=True, check=True).stdout.startswith(b"tiny, changed")


@needs_go
def test_progress_counts_the_packages_that_are_really_compiled(tiny, recipe):
    resolve("tiny", pins={"tiny": tiny})
    (recipe / "greeting").mkdir()
    (recipe / "greeting" / "greeting.go").write_text(f"package greeting\n\nconst Unseen = `{time.time_ns()}`\n")
    imports = 'import (\n"fmt"\n_ "signalbox.example/tiny/greeting"\n)'
    (recipe / "main.go").write_text(PROGRAM.replace('import "fmt"', imports))
    seen = []
    resolve("tiny", pins={"tiny": tiny}, progress=seen.append)
    counted = [(progress.stage, progress.done, progress.total) for progress in seen if progress.total is not None]
    assert counted[0] == ("compile", 0, 1)
    assert counted[-1] == ("link", 1, 1)


@needs_go
def test_code_that_does_not_compile_is_quoted_and_nothing_is_cached(tiny, recipe, tmp_path):
    (recipe / "main.go").write_text(PROGRAM.replace("version)", "vresion)"))
    with pytest.raises(Absent, match="undefined: vresion") as absent:
        resolve("tiny", pins={"tiny": tiny})
    assert "\n" not in str(absent.value)
    folder = tmp_path / "cache" / "bin" / "tiny"
    assert f"all of it in {folder / 'build.log'}" in absent.value.missing
    assert "undefined: vresion" in (folder / "build.log").read_text()
    assert {path.name for path in folder.iterdir()} == {".lock", "build.log"}


@needs_go
def test_a_module_that_is_not_there_without_the_network_names_the_remedy(tiny, recipe, monkeypatch, tmp_path):
    monkeypatch.setenv("GOFLAGS", "-modcacherw")
    monkeypatch.setenv("GOMODCACHE", str(tmp_path / "modules"))
    (recipe / "go.mod").write_text(
        "module signalbox.example/tiny\n\ngo 1.21\n\nrequire signalbox.example/other v1.0.0\n"
    )
    (recipe / "main.go").write_text(PROGRAM.replace('import "fmt"', 'import "fmt"\nimport _ "signalbox.example/other"'))
    with pytest.raises(Absent, match="Go modules cannot be fetched") as absent:
        resolve("tiny", pins={"tiny": tiny}, allow_network=False)
    assert "set GOPROXY" in absent.value.remedy


@needs_go
def test_a_cancelled_build_ends_its_compilers_and_leaves_nothing_behind(tiny, monkeypatch, tmp_path):
    monkeypatch.setenv("GOCACHE", str(tmp_path / "cold"))  # so that there is something to compile
    cancel = threading.Event()

    def cancel_at_the_first_package(progress):
        if progress.stage == "compile" and progress.done > 0:
            cancel.set()

    with pytest.raises(Cancelled):
        resolve("tiny", pins={"tiny": tiny}, progress=cancel_at_the_first_package, cancel=cancel)
    folder = tmp_path / "cache" / "bin" / "tiny"
    assert {path.name for path in folder.iterdir()} == {".lock", "build.log"}
    assert processes_in(folder) == []


@needs_go
def test_builds_of_two_backends_at_once_take_turns(tiny, monkeypatch, tmp_path):
    monkeypatch.setenv("GOCACHE", str(tmp_path / "cold"))  # so that the first takes its time
    pins = {"tiny": tiny, "twin": dataclasses.replace(tiny, name="twin")}
    compiling, cancel = threading.Event(), threading.Event()

    def until_cancelled():
        with pytest.raises(Cancelled):
            resolve("tiny", pins=pins, cancel=cancel, progress=lambda now: now.total and compiling.set())

    first = threading.Thread(target=until_cancelled)
    first.start()
    assert compiling.wait(60)
    stages = []

    def watch(now):
        stages.append(now.stage)
        if now.stage == "wait":
            cancel.set()  # the second waits: let the first go, and the second with it

    with pytest.raises(Cancelled):
        resolve("twin", pins=pins, cancel=cancel, progress=watch)
    first.join(10)
    assert stages[-1] == "wait"
    assert set(stages) <= {"modules", "wait"}, "modules are fetched meanwhile, nothing is compiled"


def processes_in(folder: Path) -> list[str]:
    """The command lines of all processes that name `folder`: the compilers write there."""
    lines = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    return [line for line in lines if str(folder) in line]


def test_without_go_the_remedy_names_the_version_to_install(tiny, recipe, monkeypatch, tmp_path):
    (recipe / "go.mod").write_text("module signalbox.example/tiny\n\ngo 1.33.7\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Absent) as absent:
        resolve("tiny", pins={"tiny": tiny})
    assert absent.value.missing == "go is not on PATH"
    assert absent.value.remedy.startswith("install Go 1.33.7 or later")


def test_an_older_go_that_may_not_fetch_a_newer_one_is_said(tiny, recipe, monkeypatch, tmp_path):
    (recipe / "go.mod").write_text("module signalbox.example/tiny\n\ngo 1.99.0\n")
    put_fake_go(monkeypatch, tmp_path, "echo local")
    with pytest.raises(Absent, match=r"Go 1\.26\.0 is older than the 1\.99\.0 that the build needs") as absent:
        resolve("tiny", pins={"tiny": tiny})
    assert "install Go 1.99.0 or later, or set GOTOOLCHAIN=auto" in absent.value.remedy


def test_an_older_go_that_may_fetch_a_newer_one_is_left_to_it(tiny, recipe, monkeypatch, tmp_path):
    (recipe / "go.mod").write_text("module signalbox.example/tiny\n\ngo 1.99.0\n")
    put_fake_go(monkeypatch, tmp_path, '[ "$1" = env ] && echo auto && exit\necho "go: fetched: and tried" >&2\nexit 1')
    seen = []
    with pytest.raises(Absent, match="go: fetched: and tried"):
        resolve("tiny", pins={"tiny": tiny}, progress=seen.append)
    assert "Go 1.26.0 is older than 1.99.0: go fetches that one" in [progress.message for progress in seen]


@pytest.mark.parametrize(
    ("said", "missing", "remedy"),
    [
        (
            "compile: writing output: write $WORK/b1/_pkg_.a: no space left on device",
            "no space left",
            "free some space",
        ),
        (
            'go: x@v1: Get "https://modules.example/x": dial tcp: lookup modules.example: no such host',
            "Go modules cannot be fetched",
            "set GOPROXY",
        ),
        ("x/y: /usr/local/go/pkg/tool/compile: signal: killed", "lack of memory", "free memory"),
        ("x.go:1:1: some other fault", "the build failed (x.go:1:1: some other fault; all of it in ", "on PATH"),
    ],
)
def test_a_failing_build_is_one_line_that_names_the_remedy(tiny, monkeypatch, tmp_path, said, missing, remedy):
    put_fake_go(monkeypatch, tmp_path, f"echo 'go: downloading x v1' >&2\necho '{said}' >&2\nexit 1")
    with pytest.raises(Absent) as absent:
        resolve("tiny", pins={"tiny": tiny})
    assert missing in absent.value.missing
    assert remedy in absent.value.remedy
    assert "\n" not in str(absent.value)


@needs_go
def test_a_build_stands_in_for_an_archive_that_cannot_be_reached(tiny, monkeypatch):
    prometheus = load_pins()["prometheus"]
    monkeypatch.setenv("SIGNALBOX_RELEASE_BASE", "http://127.0.0.1:9")
    pin = dataclasses.replace(tiny, archive=dataclasses.replace(prometheus.archive, members={}))
    seen = []
    found = resolve("tiny", pins={"tiny": pin}, progress=seen.append)
    assert found.source == "build"
    assert found.note.startswith("archive not reachable: 127.0.0.1: Connection refused; built from source in ")
    assert any(progress.message.endswith("; building from source") for progress in seen)
