"""The passwords of one stack: made on first use, kept in the secrets folder, never in a log or a command line.

Knows nothing of who uses them.
"""

import os
import secrets
from pathlib import Path


class Credentials:
    """A mapping of name to password over one folder; a missing one is generated (URL-safe, 32 characters)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def has(self, name: str) -> bool:
        """Whether the password exists already."""
        return (self._folder / name).exists()

    def __getitem__(self, name: str) -> str:
        path = self._folder / name
        if not path.exists():
            write_private(path, secrets.token_urlsafe(24) + "\n")
        return path.read_text().strip()


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
