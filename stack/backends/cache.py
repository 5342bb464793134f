"""The cache of backend binaries: `<root>/bin/<name>/<version>/`, each entry with a manifest that proves it whole.

Owns the layout, the locks, and the guarantee that an entry is either complete or not there: entries are
made in a sibling folder and renamed into place. Refuses to know how an entry is made.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stack.backends.job import Job, Product

MANIFEST = "manifest.json"
# A folder whose name starts so is half-made or thrown away. Only the holder of the lock makes one, so whoever gets the
# lock and finds one looks at the remains of a process that was killed.
_LEFTOVER = ".partial-"


class Corrupt(Exception):
    """An entry is there but is not what was put there."""


@dataclass(frozen=True)
class Entry:
    """A verified entry. `source` is the step that made it: `archive` or `build`."""

    version: str
    source: str
    executables: dict[str, Path]
    origin: dict[str, str]


def root() -> Path:
    """Where the cache lies: `SIGNALBOX_CACHE`, or `~/.cache/signalbox`."""
    return Path(os.environ.get("SIGNALBOX_CACHE") or "~/.cache/signalbox").expanduser().absolute()


def folder(name: str) -> Path:
    """All that is cached of one backend."""
    return root() / "bin" / name


def load(name: str, version: str, *, thorough: bool = False) -> Entry | None:
    """The entry of one version, verified, or None when there is none.

    An executable whose size and modification time are as recorded is taken as unchanged; one that differs in either, or
    every one when `thorough`, is hashed. Raises Corrupt.
    """
    place = folder(name) / version
    if not place.is_dir():
        return None
    try:
        manifest = json.loads((place / MANIFEST).read_text(encoding="utf-8"))
        files: dict[str, Any] = manifest["executables"]
        executables = {executable: place / files[executable]["path"] for executable in files}
        for executable, path in executables.items():
            _verify(path, files[executable], thorough)
        return Entry(version, manifest["source"], executables, manifest["origin"])
    except FileNotFoundError as gone:
        raise Corrupt(f"{gone.filename} is missing") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Corrupt(f"{place / MANIFEST} is not readable") from None


def discard(name: str, version: str) -> None:
    """Throw an entry away. The caller holds the lock."""
    place = folder(name) / version
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(place.rename(place.with_name(f"{_LEFTOVER}{version}-{time.time_ns()}")))


@contextlib.contextmanager
def locked(name: str, job: Job) -> Iterator[None]:
    """Be the only one, among all processes and threads, who makes entries of this backend; sweeps up after the dead."""
    folder(name).mkdir(parents=True, exist_ok=True)
    with _alone(folder(name) / ".lock", job, f"another process is getting {name}; waiting for it"):
        for leftover in folder(name).glob(f"{_LEFTOVER}*"):
            shutil.rmtree(leftover, ignore_errors=True)
        yield


@contextlib.contextmanager
def building(job: Job) -> Iterator[None]:
    """Be the only one who builds: one build uses every core, and a second one only doubles the memory."""
    with _alone(root() / "bin" / ".building", job, "another backend is being built; waiting for it"):
        yield


@contextlib.contextmanager
def _alone(path: Path, job: Job, waiting: str) -> Iterator[None]:
    with path.open("w") as lock:
        told = False
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not told:
                    job.report("wait", waiting)
                told = True
                job.pause(0.1)
        yield


@contextlib.contextmanager
def workshop(name: str) -> Iterator[Path]:
    """An empty folder on the cache's file system, gone when the block ends. The caller holds the lock."""
    place = Path(tempfile.mkdtemp(prefix=_LEFTOVER, dir=folder(name)))
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def publish(name: str, made: Path, source: str, product: Product) -> Entry:
    """Turn the finished folder `made` into the entry of its version, in one rename. The caller holds the lock."""
    files = {}
    for executable, relative in product.executables.items():
        path = made / relative
        path.chmod(0o755)
        status = path.stat()
        files[executable] = {
            "path": str(relative),
            "size": status.st_size,
            "mtime_ns": status.st_mtime_ns,
            "sha256": hash_file(path),
        }
    manifest = {
        "name": name,
        "version": product.version,
        "source": source,
        "origin": dict(product.origin),
        "executables": files,
    }
    (made / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    discard(name, product.version)
    place = made.rename(folder(name) / product.version)
    executables = {executable: place / relative for executable, relative in product.executables.items()}
    return Entry(product.version, source, executables, dict(product.origin))


def hash_file(path: Path, algorithm: str = "sha256") -> str:
    """The hex digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def _verify(path: Path, recorded: dict[str, Any], thorough: bool) -> None:
    status = path.stat()
    unchanged = (status.st_size, status.st_mtime_ns) == (recorded["size"], recorded["mtime_ns"])
    if not unchanged or thorough:
        if status.st_size != recorded["size"] or hash_file(path) != recorded["sha256"]:
            raise Corrupt(f"{path} is not the file that was put there")
        with contextlib.suppress(OSError):  # merely touched: restore the time, so that the next look is cheap again
            os.utime(path, ns=(status.st_atime_ns, recorded["mtime_ns"]))
    if not os.access(path, os.X_OK):
        raise Corrupt(f"{path} is not executable")
