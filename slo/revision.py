"""Definitions as they were: of another folder, or of a commit of the repository in which the present ones lie.

Owns asking git. The windows table beside the definitions belongs to them: its change is a change of every promise.
"""

from __future__ import annotations

import io
import subprocess
import tarfile
import tempfile
from functools import partial
from pathlib import Path

from slo.model import Promise
from slo.parse.tree import parse_tree
from slo.parse.windows import SHIPPED, table_for


class NoRevision(Exception):
    """The other definitions cannot be had: what is wrong, and what to do."""


def read_other(definitions: Path, against: str) -> tuple[Promise, ...]:
    """The promises of a folder or of a git revision. Raises NoRevision, or DefinitionErrors if they never compiled."""
    if Path(against).is_dir():
        return parse_tree(Path(against))
    commit = _git(definitions, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{against}^{{commit}}")
    if not commit:
        raise NoRevision(f"{against!r} is neither a folder nor a commit that git knows; name one of them")
    top = Path(_git(definitions, "rev-parse", "--show-toplevel").decode().strip())
    with tempfile.TemporaryDirectory(prefix="slo-plan-") as folder:
        inside = definitions.resolve().relative_to(top.resolve())
        _extract(top, commit.decode().strip(), inside, Path(folder))
        windows = inside.parent / "windows"
        chosen = partial(table_for, folder=Path(folder) / windows) if _is_ours(top / windows) else table_for
        if chosen is not table_for:
            _extract(top, commit.decode().strip(), windows, Path(folder))
        return parse_tree(Path(folder) / inside, chosen)


def _is_ours(windows: Path) -> bool:
    return windows.resolve() == SHIPPED.resolve()


def _extract(top: Path, commit: str, inside: Path, folder: Path) -> None:
    data = _git(top, "archive", "--format=tar", commit, "--", str(inside))
    if not data:
        raise NoRevision(f"{inside} was not there in {commit[:12]}; choose a later commit")
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        archive.extractall(folder, filter="data")


def _git(folder: Path, *arguments: str) -> bytes:
    try:
        ran = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, check=False, timeout=60)
    except FileNotFoundError:
        raise NoRevision("git is not there; install it, or compare with a folder") from None
    return ran.stdout if ran.returncode == 0 else b""
