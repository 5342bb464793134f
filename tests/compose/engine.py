"""A container engine for the tests: the one that answers, else Docker's own daemon, started here and ended after.

Needs root for the second. Everything of that daemon lies in one temporary folder; nothing of the machine's own engine
is touched.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stack.backends.cache import root as cache
from tests.compose.debian import obtain_compose

START_S, STOP_S = 60.0, 60.0
PLUGIN_FOLDERS = ("/usr/libexec/docker/cli-plugins", "/usr/lib/docker/cli-plugins", "/usr/local/lib/docker/cli-plugins")
REMEDY = "Install Docker Engine and its compose plugin, on Debian: apt-get install docker.io docker-compose iptables"


class NoEngine(Exception):
    """Why there is no engine, and what to do about it."""


@contextmanager
def engine(folder: Path) -> Iterator[None]:
    """An engine that answers `docker` in this process's environment. Raises NoEngine."""
    if shutil.which("docker") is None:
        raise NoEngine(f"there is no `docker` command. {REMEDY}")
    if not answers("compose", "version"):
        use_debians_compose()
    if answers("version"):
        yield
        return
    daemon = shutil.which("dockerd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if daemon is None or os.geteuid() != 0:
        raise NoEngine(f"no engine answers, and only root with `dockerd` may start one. {REMEDY}")
    with started(daemon, folder):
        yield


def use_debians_compose() -> None:
    """Have this process's `docker` find the plugin in Debian's package. Raises NoEngine."""
    try:
        os.environ["DOCKER_CONFIG"] = str(obtain_compose(cache() / "standins"))
    except (OSError, subprocess.CalledProcessError) as error:
        places = ", ".join(PLUGIN_FOLDERS)
        raise NoEngine(f"`docker compose` is not there (looked in {places}; Debian's: {error}). {REMEDY}") from error
    if not answers("compose", "version"):
        raise NoEngine(f"`docker compose` does not run, not even Debian's. {REMEDY}")


def answers(*arguments: str) -> bool:
    """Whether this `docker` command succeeds."""
    try:
        return subprocess.run(["docker", *arguments], capture_output=True, timeout=20, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False


@contextmanager
def started(daemon: str, folder: Path) -> Iterator[None]:
    """Docker's daemon with its data, socket and pid file below `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    address, log = f"unix://{folder}/docker.sock", folder / "dockerd.log"
    command = [daemon, "--host", address, "--pidfile", str(folder / "dockerd.pid")]
    command += ["--data-root", str(folder / "data"), "--exec-root", str(folder / "run")]
    sys.stderr.write(f"Starting an engine in {folder} …\n")
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        before = os.environ.get("DOCKER_HOST")
        os.environ["DOCKER_HOST"] = address
        try:
            deadline = time.monotonic() + START_S
            while not answers("version"):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise NoEngine(f"dockerd does not answer: {log.read_text(errors='replace')[-600:]}")
                time.sleep(0.3)
            yield
        finally:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
            os.environ.pop("DOCKER_HOST")
            if before is not None:
                os.environ["DOCKER_HOST"] = before
