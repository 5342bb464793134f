"""Where one checkout keeps its state and which ports it takes, read once from the environment.

Owns the names of the folders below the state folder and the settings `SIGNALBOX_STATE`, `SIGNALBOX_PORT_OFFSET`
and `SIGNALBOX_GATEWAY_HOST`. Knows nothing of components.
"""

import hashlib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stack.errors import StackError, WrongUse

LOOPBACK = "127.0.0.1"
HIGHEST_BASE_PORT = 16686  # Jaeger's query port; the offset must leave every port below 65536
LONGEST_SOCKET_PATH = 103  # macOS; Linux allows 107
SIGN = ".signalbox-state"  # tells our folder from somebody else's before anything is written or deleted
SIGN_TEXT = "The state of one Signalbox checkout. `signalbox down --purge` deletes it.\n"


@dataclass(frozen=True)
class Layout:
    """The folders and port offset of one stack."""

    root: Path
    state: Path
    port_offset: int = 0
    gateway_host: str | None = None  # where the gateway shall listen; None: where it does, loopback at first

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> "Layout":
        """Read the settings; the checkout is found from where this package lies, never from the working directory."""
        root = Path(__file__).resolve().parent.parent
        state = Path(environ.get("SIGNALBOX_STATE") or root / ".signalbox").expanduser().resolve()
        return cls(
            root=root,
            state=state,
            port_offset=parse_port_offset(environ.get("SIGNALBOX_PORT_OFFSET") or "0"),
            gateway_host=environ.get("SIGNALBOX_GATEWAY_HOST") or None,
        )

    @property
    def run(self) -> Path:
        return self.state / "run"

    @property
    def data(self) -> Path:
        return self.state / "data"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def secrets(self) -> Path:
        return self.state / "secrets"

    @property
    def elsewhere(self) -> Path:
        """Where PostgreSQL's data goes when started as root and its user cannot reach the state folder."""
        return Path("/var/lib/signalbox") / hashlib.sha256(str(self.state).encode()).hexdigest()[:12]

    def socket(self, name: str) -> Path:
        """A Unix socket's path: in the run folder, or in a short folder of our own where that would be too long."""
        path = self.run / f"{name}.sock"
        if len(str(path)) <= LONGEST_SOCKET_PATH:
            return path
        return Path(tempfile.gettempdir()) / f"signalbox-{os.getuid()}-{self.elsewhere.name}" / path.name

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def port(self, base: int) -> int:
        return base + self.port_offset

    def make(self) -> None:
        """Create the folders. Refuses a state folder that holds somebody else's files."""
        sign = self.state / SIGN
        if self.state.is_dir() and not sign.exists() and any(self.state.iterdir()):
            raise StackError(
                f"{self.state} holds files that are not Signalbox's",
                "Point SIGNALBOX_STATE at an empty folder",
            )
        self.state.mkdir(parents=True, exist_ok=True)
        if not sign.exists():
            sign.write_text(SIGN_TEXT)
        for folder in (self.run, self.data, self.logs, self.secrets):
            folder.mkdir(exist_ok=True)
            folder.chmod(0o700)
        for folder in (self.state, self.data):
            folder.chmod(0o711)  # PostgreSQL's own user passes through, whatever the umask says
        sockets = self.socket("any").parent
        sockets.mkdir(exist_ok=True, mode=0o700)
        if sockets.stat().st_uid != os.getuid():
            raise StackError(f"{sockets} belongs to another user", "Point SIGNALBOX_STATE at a shorter path")


def parse_port_offset(text: str) -> int:
    """The number by which every port is shifted; refuses what would leave the range of ports."""
    try:
        offset = int(text)
    except ValueError:
        offset = -1
    if not 0 <= offset <= 65535 - HIGHEST_BASE_PORT:
        raise WrongUse(
            f"SIGNALBOX_PORT_OFFSET is {text!r}",
            f"Give a number from 0 to {65535 - HIGHEST_BASE_PORT}, for example 2500",
        )
    return offset
