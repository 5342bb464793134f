"""What exactly is started for a component: its templates filled in for this machine, this checkout and this wish.

Owns the environment that children get (nothing of ours leaks in by accident). Starts nothing.
"""

import hashlib
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from stack.components import DEFAULT_REPLICAS, Component, Step, base_ports
from stack.layout import LOOPBACK, Layout
from stack.native.credentials import Credentials
from stack.native.processes import MARK, User

# What a child keeps of the environment that `signalbox` was called in.
INHERITED = ("PATH", "HOME", "TZ", "TMPDIR")

WATCHED = "targets"  # Prometheus looks for changes there

# Two missed repeats of the Watchdog (one a minute, divided by the clock) and half a minute for the way; the floor
# leaves room for a restart of Prometheus.
DEADMAN_TIMEOUT_S, LEAST_DEADMAN_TIMEOUT_S = 150.0, 20.0


@dataclass(frozen=True)
class Wish:
    """What a person asked the supervisor for. `number` counts the askings, `starter` names the call that started it."""

    clock: float = 1.0
    replicas: int = DEFAULT_REPLICAS
    # component → environment on top of its own
    overrides: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    gateway_host: str = LOOPBACK
    number: int = 0
    starter: str = ""
    restarts: Mapping[str, int] = field(default_factory=dict)  # how often a component was to be restarted

    def overridden(self, component: str, environment: Mapping[str, str] | None) -> "Wish":
        """With these variables on top of the component's own; None takes them back."""
        others = {name: variables for name, variables in self.overrides.items() if name != component}
        return replace(self, overrides=others if environment is None else {**others, component: environment})


def write_wish(layout: Layout, wish: Wish) -> None:
    """Leave the wish where the supervisor reads it."""
    unfinished = layout.run / ".wish.json.new"
    unfinished.write_text(json.dumps(asdict(wish)))
    unfinished.replace(layout.run / "wish.json")


def read_wish(layout: Layout) -> Wish:
    """The last wish, or the default one when there is none that can be read."""
    try:
        return Wish(**json.loads((layout.run / "wish.json").read_text()))
    except (OSError, ValueError, TypeError):
        return Wish()


SHARE_PORT = "SIGNALBOX_SHARE_PORT"  # tells the service to let its successor listen beside it


@dataclass(frozen=True)
class Ground:
    """What a component stands on: its data folder, its programs by name, and the user it runs as (None: our own)."""

    data: Path
    executables: Mapping[str, Path]
    user: User | None = None
    note: str = ""


@dataclass(frozen=True)
class Launch:
    """One program to start; a running component whose launch did not change needs no restart."""

    command: tuple[str, ...]
    env: Mapping[str, str]
    config: str  # digest of the files rendered for it
    restarts: int = 0  # how often it was to be restarted by hand


@dataclass(frozen=True)
class Blueprint:
    """Fills in the templates for one stack."""

    layout: Layout
    wish: Wish
    parts: tuple[Component, ...]
    credentials: Credentials
    revision: str = "unknown"
    ports: Mapping[str, int] = field(init=False)

    def __post_init__(self) -> None:
        ports = {name: self.layout.port(base) for name, base in base_ports(self.parts).items()}
        object.__setattr__(self, "ports", ports)

    def run_folder(self, part: Component | Step) -> Path:
        """Where the files rendered for it lie."""
        return self.layout.run / part.name

    def url(self, component: Component) -> str | None:
        """Where a person reaches the component, if anywhere."""
        return component.url and component.url.format(host=LOOPBACK, ports=self.ports)

    def launch(self, part: Component | Step, ground: Ground) -> Launch:
        """The program to start on that ground."""
        values = self._values(part, ground)
        return Launch(
            command=tuple(word.format_map(values) for word in part.command),
            env={
                **{name: value for name in INHERITED if (value := os.environ.get(name))},
                "LANG": "C.UTF-8",
                "PYTHONUNBUFFERED": "1",
                MARK: str(self.layout.state),
                **({SHARE_PORT: "on"} if isinstance(part, Component) and part.overlaps else {}),
                **{name: template.format_map(values) for name, template in part.env.items()},
                **self.wish.overrides.get(part.name, {}),
            },
            config=digest(self.run_folder(part)),
            restarts=self.wish.restarts.get(part.name, 0),
        )

    def reload_command(self, component: Component, ground: Ground) -> tuple[str, ...]:
        """The command that makes the running component take a changed configuration."""
        values = self._values(component, ground)
        return tuple(word.format_map(values) for word in component.reload.command) if component.reload else ()

    def _values(self, part: Component | Step, ground: Ground) -> Mapping[str, object]:
        return {
            "python": sys.executable,
            "root": self.layout.root,
            "run": self.run_folder(part),
            "data": ground.data,
            "state": self.layout.state,
            "port_offset": self.layout.port_offset,
            "form": "native",
            "logs": self.layout.logs,
            "socket": self.layout.socket(part.name),
            "secrets": self.layout.secrets,
            "secret": self.credentials,
            "host": LOOPBACK,
            "gateway_host": self.wish.gateway_host,
            "ports": self.ports,
            "bin": ground.executables,
            "home": {name: path.parent.parent for name, path in ground.executables.items()},
            "upstreams": " ".join(f"{LOOPBACK}:{self.ports[p.name]}" for p in self.parts if p.job == "api"),
            "version": own_version(self.layout),
            "revision": self.revision,
            "deadman_timeout_s": f"{deadman_timeout_s(self.wish.clock):g}",
        }


def deadman_timeout_s(clock: float) -> float:
    """How long the pager hears nothing of the Watchdog at that clock before it pages, in seconds."""
    return max(LEAST_DEADMAN_TIMEOUT_S, DEADMAN_TIMEOUT_S / clock)


def own_version(layout: Layout) -> str:
    """The version of this checkout."""
    project = tomllib.loads((layout.root / "pyproject.toml").read_text())["project"]
    return str(project["version"])


def revision_of(layout: Layout) -> str:
    """The commit that is checked out, `unknown` where git does not say."""
    command = ["git", "-C", str(layout.root), "rev-parse", "--short=12", "HEAD"]
    with suppress(OSError, subprocess.SubprocessError):
        answer = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
        return answer.stdout.strip()
    return "unknown"


def digest(folder: Path) -> str:
    """One hash over the files of a folder, but for those that their reader watches by itself."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.parent.name != WATCHED:
            total.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes() + b"\0")
    return total.hexdigest()
