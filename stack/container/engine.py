"""The engine, asked and told through its own command line, so that contexts and DOCKER_HOST hold as everywhere.

Knows the project's name and the variables of docker-compose.yml; no component by name.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from stack.backends import load_pins
from stack.components import components
from stack.container.addresses import host_ports
from stack.errors import StackError
from stack.layout import LOOPBACK, Layout
from stack.native.launch import Wish, deadman_timeout_s, revision_of

ANSWER_S = 20.0
ENDING_S = 60.0
LABEL = "com.docker.compose"
LEAST_COMPOSE = (2, 20)  # earlier ones take a container that did its work and ended for one that failed (`up --wait`)
OURS = "signalbox:"  # the image that is built, and never pulled
STAND_IN = "signalbox.standin"  # label of an image that was made here in an official one's place


def answers() -> bool:
    """Whether an engine with a usable `docker compose` answers here."""
    return shutil.which("docker") is not None and why_not() is None


def why_not() -> str | None:
    """Why the container form cannot be used here; None when it can."""
    if shutil.which("docker") is None:
        return "there is no `docker` command"
    said = _run(["docker", "compose", "version", "--short"], tolerate=True).strip()
    found = re.match(r"v?(\d+)\.(\d+)", said)
    if found is None:
        return "`docker compose` is not there"
    if (int(found[1]), int(found[2])) < LEAST_COMPOSE:
        return f"`docker compose` is {said}, and {'.'.join(map(str, LEAST_COMPOSE))} is the least"
    try:
        _run(["docker", "version", "--format", "{{.Server.Version}}"])
    except StackError as error:
        return error.what
    return None


@dataclass(frozen=True)
class Container:
    """One container of the project as the engine tells of it."""

    identity: str
    service: str
    image: str
    status: str  # created, running, restarting, exited, paused, dead
    health: str  # empty without a health check, else starting, healthy, unhealthy
    exit_code: int
    restarts: int
    pid: int
    started_at: str
    said: str  # output of the last health check
    is_stand_in: bool


class Engine:
    """`docker` for the containers of one checkout at one port offset."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self.project = "signalbox" + (f"-{layout.port_offset}" if layout.port_offset else "")

    def containers(self) -> list[Container]:
        """Every container of the project, running or not; of a service's, the newest."""
        label = f"label={LABEL}.project={self.project}"
        ids = _run(["docker", "ps", "--all", "--quiet", "--no-trunc", "--filter", label]).split()
        if not ids:
            return []
        documents = json.loads(_run(["docker", "inspect", "--type", "container", *ids], tolerate=True) or "[]")
        found = sorted((document for document in documents), key=lambda document: document["Created"])
        one_offs = f"{LABEL}.oneoff"
        return [_parse(one) for one in found if one["Config"]["Labels"].get(one_offs, "False") == "False"]

    def identities(self, service: str) -> list[str]:
        """Every container of that service, running or not."""
        labels = {"project": self.project, "service": service, "oneoff": "False"}
        filters = [word for key, value in labels.items() for word in ("--filter", f"label={LABEL}.{key}={value}")]
        return _run(["docker", "ps", "--all", "--quiet", "--no-trunc", *filters]).split()

    def end(self, identity: str) -> None:
        """Stop a container, which may take as long as it was given for that, and remove it."""
        _run(["docker", "stop", identity], tolerate=True, patience_s=ENDING_S)
        _run(["docker", "rm", "--force", identity], tolerate=True)

    def act(self, verb: str, identity: str) -> None:
        """`docker VERB` on a container. Raises StackError."""
        _run(["docker", verb, identity])

    def has_image(self, image: str) -> bool:
        """Whether the image is here without a pull."""
        look = ["docker", "image", "inspect", "--format", "{{.Id}}", image]
        return bool(_run(look, tolerate=True).strip())

    def pull(self, image: str) -> bool:
        """Pull an image, its progress on standard error; False when it cannot be had."""
        done = subprocess.run(["docker", "pull", image], stdout=sys.stderr, stderr=subprocess.DEVNULL, check=False)
        return done.returncode == 0

    def cannot_have(self) -> str | None:
        """An image that the stack needs and that is neither here nor to be pulled; None when all can be had.

        One pull tells: where the first comes from, the others do too.
        """
        images = _run(self.compose(Wish(), "config", "--images"), tolerate=True).split()
        pins = load_pins()
        optional = {pins[part.backend].image for part in components() if part.optional and part.backend}
        needed = (one for one in images if one not in optional and not one.startswith(OURS))
        missing = next((one for one in needed if not self.has_image(one)), None)
        return missing if missing and not self.pull(missing) else None

    def compose(self, wish: Wish, *arguments: str) -> list[str]:
        """The command line of `docker compose` for this project."""
        root = self._layout.root
        files = ["--file", str(root / "docker-compose.yml")]
        if wish.overrides:
            files += ["--file", str(self._overrides(wish))]
        command = [
            "docker",
            "compose",
            "--ansi",
            "never",
            "--project-name",
            self.project,
            "--project-directory",
            str(root),
        ]
        # What is started is named, so no profile is wanted: `up` would pull the images of all that it has.
        profiles = [] if arguments[:1] == ("up",) else ["--profile", "*"]
        return [*command, *files, *profiles, *arguments]

    def _overrides(self, wish: Wish) -> Path:
        """A file on top of docker-compose.yml with the variables that some components are to have besides."""
        path = self._layout.run / "overrides.json"
        path.write_text(
            json.dumps({"services": {name: {"environment": more} for name, more in wish.overrides.items()}})
        )
        return path

    def variables(self, wish: Wish) -> Mapping[str, str]:
        """The environment of `docker compose`: ours, and what docker-compose.yml leaves open."""
        return {
            **os.environ,
            **host_ports(self._layout),
            "SIGNALBOX_CLOCK": f"{wish.clock:g}",
            "SIGNALBOX_DEADMAN_TIMEOUT_S": f"{deadman_timeout_s(wish.clock):g}",
            "SIGNALBOX_GATEWAY_HOST": wish.gateway_host or LOOPBACK,
            "SIGNALBOX_REVISION": revision_of(self._layout),
            "COMPOSE_PROFILES": "core",
        }

    def begin(self, wish: Wish, *arguments: str, output: IO[bytes]) -> "subprocess.Popen[bytes]":
        """Start `docker compose`, out of reach of this terminal's Ctrl-C."""
        return subprocess.Popen(
            self.compose(wish, *arguments),
            cwd=self._layout.root,
            env=dict(self.variables(wish)),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )

    def attach(self, wish: Wish, *arguments: str) -> int:
        """Run `docker compose` on this terminal; its exit code."""
        command = self.compose(wish, *arguments)
        return subprocess.run(command, cwd=self._layout.root, env=dict(self.variables(wish)), check=False).returncode


def _parse(document: Mapping[str, Any]) -> Container:
    state, config = document["State"], document["Config"]
    health = state.get("Health") or {}
    checks = health.get("Log") or [{}]
    return Container(
        identity=document["Id"],
        service=config["Labels"][f"{LABEL}.service"],
        image=config["Image"],
        status=state["Status"],
        health=health.get("Status", ""),
        exit_code=state["ExitCode"],
        restarts=document.get("RestartCount", 0),
        pid=state["Pid"],
        started_at=state["StartedAt"],
        said=" ".join(checks[-1].get("Output", "").split())[-200:],
        is_stand_in=STAND_IN in config["Labels"],
    )


def _run(command: Sequence[str], *, tolerate: bool = False, patience_s: float = ANSWER_S) -> str:
    """What the command prints. Raises StackError with its last words, unless a failure is to be tolerated."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=patience_s, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StackError(f"the container engine does not answer: {error}", REMEDY) from error
    if done.returncode and not tolerate:
        said = (done.stderr.strip() or f"`{' '.join(command[:3])}` exits with {done.returncode}").splitlines()[0]
        raise StackError(f"the container engine does not answer: {said}", REMEDY)
    return done.stdout


REMEDY = "Start it, or use the native form: `signalbox up --form native`"
