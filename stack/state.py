"""The state document of a running stack: its shape, how it is written whole, how it is read when damaged or old.

The supervisor writes it, everybody else reads it. Knows nothing of how components are run.
"""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

FORMAT = 1
ComponentPhase = Literal["ready", "starting", "building", "failed", "absent"]
SETTLED: frozenset[ComponentPhase] = frozenset({"ready", "failed", "absent"})


@dataclass
class ComponentState:
    """One component as a person sees it, and the start time that tells its process from a later one of the same pid."""

    name: str
    state: ComponentPhase = "starting"
    version: str | None = None
    source: str | None = None
    pid: int | None = None
    url: str | None = None
    detail: str = ""
    created: float | None = None

    def document(self) -> dict[str, Any]:
        """The public form, as `status --json` prints it."""
        return {name: value for name, value in asdict(self).items() if name != "created"}


@dataclass
class StackState:
    """The whole document. `ready` is true when every component that is not optional is ready."""

    pid: int
    created: float
    started_at: str
    clock: float
    replicas: int
    port_offset: int
    ready: bool = False
    stopping: bool = False
    wish: int = 0  # how many times the wish was read: tells `up` that its change was taken
    components: list[ComponentState] = field(default_factory=list)
    urls: dict[str, str | None] = field(default_factory=dict)
    format: int = FORMAT

    def document(self) -> dict[str, Any]:
        """`{"ready", "components"}`, the document of `signalbox status --json`."""
        return {"ready": self.ready, "components": [part.document() for part in self.components]}

    def named(self, name: str) -> ComponentState | None:
        return next((part for part in self.components if part.name == name), None)


def write_state(path: Path, state: StackState) -> None:
    """Replace the document in one step; readers never see half of it."""
    unfinished = path.with_name(f".{path.name}.new")
    unfinished.write_text(json.dumps(asdict(state), indent=1))
    os.replace(unfinished, path)


def read_state(path: Path) -> StackState | None:
    """The document, or None when there is none, or one that is damaged or of another version."""
    try:
        document = json.loads(path.read_text())
        if document["format"] != FORMAT:
            return None
        parts = [ComponentState(**part) for part in document.pop("components")]
        return StackState(**document, components=parts)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
