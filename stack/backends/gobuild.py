"""The build from a published Go module, by the recipe in `stack/recipes/<name>`, with the Go toolchain at hand.

Owns the go commands, their progress and what their failures mean. Refuses to write into the recipe: it builds from a
copy. Flags are chosen so that the result depends on the recipe alone (-trimpath, no cgo, no profile, no VCS stamp).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from stack.backends import cache, machine
from stack.backends.job import Job, Product, Unavailable
from stack.backends.pins import Build, Pin, parse_version

# How long the go command gets to stop its compilers by itself.
_GRACE_S = 2.0
_NETWORK = re.compile(
    r".*(?:dial tcp|no such host|i/o timeout|connection refused|connection reset|TLS handshake|proxyconnect"
    r"|network is unreachable|lookup disabled by GOPROXY).*"
)
_NO_SPACE = re.compile(r".*(?:no space left on device|disk quota exceeded|file too large).*")


def fingerprint(build: Build) -> str:
    """A digest of all that decides what a build yields; a cached build with another one is out of date."""
    digest = hashlib.sha256(repr((_flags(build), dict(build.packages))).encode())
    for file in sorted(path for path in build.recipe.iterdir() if path.is_file()):
        digest.update(f"\0{file.name}\0".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def compile_packages(pin: Pin, workshop: Path, made: Path, job: Job, *, allow_network: bool) -> Product:
    """Build the pin's packages into `made`; `workshop` holds everything else. Raises Unavailable, and OSError with
    ENOSPC when the disk is full."""
    build = pin.build
    if build is None:
        raise Unavailable("it is not built from source")
    recipe = Path(shutil.copytree(build.recipe, workshop / "recipe"))
    temporary = workshop / "tmp"
    temporary.mkdir()
    made.mkdir()
    # GOTMPDIR: what a killed go command leaves behind goes with the workshop.
    environment = os.environ | {"CGO_ENABLED": "0", "GOWORK": "off", "GOTMPDIR": str(temporary)}
    environment.setdefault("GOGC", "400")  # of the compiler: a fifth less CPU time for some more memory
    for foreign in ("GOOS", "GOARCH"):
        environment.pop(foreign, None)
    if not allow_network:
        environment |= {"GOPROXY": "off", "GOTOOLCHAIN": "local"}
    log = workshop.parent / "build.log"
    with log.open("w", encoding="utf-8") as log_file:
        go = _Go(recipe, environment, log_file, job)
        version = go.check_version(_wanted_go(recipe))
        _fetch_modules(go, pin, build)  # waits for the network, so it may as well while another backend compiles
        with cache.building(job):
            _build(go, pin, build, made)
    for name, package in build.packages.items():
        built = made / (build.recipe.name if package == "." else package.rsplit("/", 1)[-1])
        built.rename(made / name)
    job.report("check", f"checking {pin.main}")
    if (stated := machine.version_of(pin, made / pin.main)) != build.version:
        raise Unavailable(f"the build says that it is {stated}, wanted {build.version}")
    return Product(
        version=build.version,
        executables={name: Path(name) for name in build.packages},
        origin={
            "module": f"{build.module}@{build.module_version}",
            "go": version,
            "fingerprint": fingerprint(build),
        },
    )


# The linker drops debugging information anyway (-s -w): compiling it takes a seventh of the time and yields nothing.
_NO_DEBUGGING = "-gcflags=all=-dwarf=false"


def _flags(build: Build) -> list[str]:
    linker = "-s -w" + (f" -X {build.stamp.format(version=build.version)}" if build.stamp else "")
    # -mod=mod, because the copy of the recipe may be written to: its checksums are complete, its graph need not be.
    flags = ["-mod=mod", "-trimpath", "-pgo=off", "-buildvcs=false", "-ldflags", linker]
    return [*flags, "-tags", ",".join(build.tags)] if build.tags else flags


def _fetch_modules(go: _Go, pin: Pin, build: Build) -> None:
    """Bring every module that the packages need into Go's module cache."""
    downloaded = 0

    def on_module(line: str) -> None:
        nonlocal downloaded
        if line.startswith("go: downloading "):
            downloaded += 1
            go.job.report("modules", line.removeprefix("go: "), downloaded)

    go.job.report("modules", f"asking go what {pin.name} needs")
    go.run(["list", "-deps", *_flags(build), "-f", "{{.ImportPath}}", *build.packages.values()], on_module)


def _build(go: _Go, pin: Pin, build: Build, made: Path) -> None:
    flags, packages = [*_flags(build), _NO_DEBUGGING], list(build.packages.values())
    # Stale packages are the ones that Go's own build cache does not have: exactly those will be compiled. Programs are
    # linked in any case, last. Asked only now, when what was compiled before this is in that cache.
    listing = go.run(["list", "-deps", *flags, "-f", "{{.Stale}} {{.Name}} {{.ImportPath}}", *packages], lambda _: None)
    stale = {path for state, kind, path in map(str.split, listing.splitlines()) if state == "true" and kind != "main"}
    compiled: set[str] = set()

    def on_package(line: str) -> None:
        compiled.update({line} & stale)
        if len(compiled) < len(stale):
            go.job.report("compile", f"compiling {line}", len(compiled), len(stale))
        else:
            go.job.report("link", f"linking {', '.join(build.packages)}", len(stale), len(stale))

    on_package(pin.name)
    go.run(["build", "-v", *flags, "-o", f"{made}{os.sep}", *packages], on_package)


class _Go:
    """The go command in one recipe; everything it says goes to the log."""

    def __init__(self, recipe: Path, environment: dict[str, str], log: IO[str], job: Job) -> None:
        self.job = job
        self._recipe = recipe
        self._environment = environment
        self._log = log
        found = shutil.which("go")
        if found is None:
            raise Unavailable("go is not on PATH", f"install Go {_wanted_go(recipe)} or later (https://go.dev/dl)")
        self._go = found

    def check_version(self, wanted: str) -> str:
        """The version that will do the building. Raises Unavailable when it is older than `wanted` and Go is not
        allowed to fetch that one by itself."""
        local = self._ask("version", GOTOOLCHAIN="local")
        match = re.search(r"go(\d[\w.]*)", local)
        version = match.group(1) if match else "0"
        if parse_version(version) >= parse_version(wanted):
            return version
        # GOTOOLCHAIN came with 1.21; before that Go cannot fetch another one.
        fetches = parse_version(version) >= (1, 21) and self._ask("env", "GOTOOLCHAIN") not in ("local", "path")
        if not fetches:
            raise Unavailable(
                f"Go {version} is older than the {wanted} that the build needs",
                f"install Go {wanted} or later, or set GOTOOLCHAIN=auto to let go fetch it",
            )
        self.job.report("modules", f"Go {version} is older than {wanted}: go fetches that one")
        return wanted

    def _ask(self, *arguments: str, **environment: str) -> str:
        def ask() -> str:
            return subprocess.run(
                [self._go, *arguments],
                cwd=self._recipe.parent,
                env=self._environment | environment,
                capture_output=True,
                text=True,
                check=False,
            ).stdout.strip()

        return self.job.wait_for(ask)

    def run(self, arguments: list[str], on_line: Callable[[str], None]) -> str:
        """Run to the end and return stdout; every line on stderr goes to `on_line`. Raises Unavailable."""
        said: list[str] = []
        # A file, because the listing is longer than a pipe holds.
        with (self._recipe.parent / "stdout").open("w+", encoding="utf-8") as stdout:
            process = subprocess.Popen(
                [self._go, *arguments],
                cwd=self._recipe,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                process_group=0,  # the compilers are in it too, and a terminal's Ctrl-C is not: we end it
            )
            assert process.stderr is not None
            try:
                for line in self._lines(process.stderr):
                    self._log.write(line + "\n")
                    said.append(line)
                    on_line(line)
                process.wait()
            finally:
                _end_group(process)  # first: a reader that is still waiting would hold up the closing
                process.stderr.close()
            if process.returncode != 0:
                self._log.flush()
                raise _failure(said, Path(self._log.name))
            stdout.seek(0)
            return stdout.read()

    def _lines(self, stream: IO[str]) -> Iterator[str]:
        while line := self.job.wait_for(stream.readline):
            yield line.rstrip("\n")


def _wanted_go(recipe: Path) -> str:
    match = re.search(r"^go (\S+)$", (recipe / "go.mod").read_text(encoding="utf-8"), re.MULTILINE)
    return match.group(1) if match else "1"


def _end_group(process: subprocess.Popen[str]) -> None:
    if process.poll() is not None:
        return
    deadline = time.monotonic() + _GRACE_S
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _failure(said: list[str], log: Path) -> Exception:
    text = "\n".join(said)
    if match := _NO_SPACE.search(text):
        return OSError(errno.ENOSPC, match.group().strip())
    if match := _NETWORK.search(text):
        return Unavailable(
            f"Go modules cannot be fetched ({match.group().strip()[:200]})",
            "connect this machine once, or set GOPROXY to a module proxy that it reaches",
        )
    if "signal: killed" in text:
        return Unavailable("the Go compiler was killed, most likely for lack of memory", "free memory, try again")
    telling = [line.strip() for line in said if ": " in line and not line.startswith("go: downloading ")]
    return Unavailable(f"the build failed ({(telling or ['no reason given'])[-1][:200]}; all of it in {log})")
