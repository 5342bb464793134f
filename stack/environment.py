"""The Python environment of the checkout: made from `requirements.lock`, made anew when it is not whole.

Run by `make` with whatever interpreter the machine has, so it uses the standard library alone and old syntax. Knows
nothing of the stack.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

LEAST_PYTHON = (3, 11)
MARK = "made-from"  # written last: an environment without it, or with another content, is not whole


def main() -> int:
    """Make the environment if need be. One line on standard error says why it cannot be made."""
    root = Path(__file__).resolve().parent.parent
    try:
        with (root / ".venv.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # of two `make` at once the second waits for the first
            if not is_whole(root / ".venv"):
                make(root / ".venv")
    except Refusal as refusal:
        sys.stderr.write(f"signalbox: {refusal}.\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


class Refusal(Exception):
    """Why there is no environment, and what to do about it."""


def is_whole(environment: Path) -> bool:
    """Whether the environment was made from this lock file, in this place, and its interpreter still fits it."""
    mark = environment / MARK
    if not mark.exists() or mark.read_text() != fingerprint(environment):
        return False
    look = "import importlib.util, sys; sys.exit(importlib.util.find_spec('typer') is None)"
    try:
        return subprocess.run([str(environment / "bin" / "python"), "-c", look], check=False).returncode == 0
    except OSError:
        return False


def fingerprint(environment: Path) -> str:
    """What an environment is made from; scripts in it name their folder, so a moved one is another."""
    locked = (environment.parent / "requirements.lock").read_bytes()
    return f"{hashlib.sha256(locked).hexdigest()} {environment}\n"


def make(environment: Path) -> None:
    """Make the environment from nothing. Raises Refusal."""
    root = environment.parent
    version = ".".join(map(str, sys.version_info[:2]))
    if sys.version_info < LEAST_PYTHON:
        raise Refusal(
            f"Python {version} ({sys.executable}) is too old. Install 3.11 or later and name it: make PYTHON=python3.11"
        )
    sys.stderr.write(f"Making the Python environment in {environment} …\n")
    if environment.is_symlink() or environment.is_file():
        environment.unlink()
    shutil.rmtree(str(environment), ignore_errors=True)
    if subprocess.run([sys.executable, "-m", "venv", str(environment)], check=False).returncode:
        raise Refusal(f"{sys.executable} cannot make an environment. On Debian and Ubuntu: apt install python3-venv")
    python = str(environment / "bin" / "python")
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]
    if subprocess.run([*install, "--requirement", str(root / "requirements.lock")], check=False).returncode:
        raise Refusal(
            "the locked packages could not be installed. Check the network and the free space, then try again"
        )
    packages = environment / "lib" / f"python{version}" / "site-packages"
    (packages / "signalbox.pth").write_text(f"{root}\n")
    command = environment / "bin" / "signalbox"
    command.write_text(f"#!{python}\nfrom stack.__main__ import main\n\nmain()\n")
    command.chmod(0o755)
    (environment / MARK).write_text(fingerprint(environment))


if __name__ == "__main__":
    os.environ.pop("PYTHONPATH", None)  # what is found there is not what is locked
    sys.exit(main())
