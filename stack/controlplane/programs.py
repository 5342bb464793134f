"""The programs of the control plane and the documents that come with them, got by the stack's own way.

Owns which pins they are and where KEDA's resource definitions lie. Nothing here is built by `signalbox up`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

from stack.backends import Absent, Pin, Progress, load_pins, probe, resolve
from stack.errors import StackError

FOLDER = Path(__file__).parent
RECIPES = FOLDER / "recipes"
KEDA = "keda"
DEFINITIONS = Path("config/crd/bases")  # inside KEDA's module
MODULE_TIMEOUT_S = 120.0

Programs = dict[str, Path]


def pins() -> dict[str, Pin]:
    """The pins of the control plane by name."""
    return load_pins(FOLDER / "pins.toml", RECIPES)


def needed(keda: bool) -> list[str]:
    """The backends of a control plane with or without KEDA, whose build is the longest."""
    return [name for name in pins() if keda or name != KEDA]


def missing(keda: bool) -> list[str]:
    """Those that would have to be built first; fast, and without side effects."""
    known = pins()
    return [name for name in needed(keda) if probe(name, pins=known) is None]


def obtain(keda: bool, progress: Callable[[Progress], None], cancel: threading.Event) -> Programs:
    """Every executable by its name, built if need be: a quarter of an hour of two cores, half of it KEDA.

    Raises StackError when one cannot be had, stack.backends.Cancelled after `cancel`.
    """
    known, found = pins(), {}
    for name in needed(keda):
        try:
            found |= resolve(name, progress=progress, cancel=cancel, pins=known).executables
        except Absent as absent:
            raise StackError(f"{absent.name} is absent: {absent.missing}", absent.remedy) from absent
    return found


def custom_resources() -> list[Path]:
    """The files of KEDA's resource definitions, as its module publishes them and the recipe's checksums vouch for.

    Raises StackError when Go or the module is not to be had.
    """
    build = pins()[KEDA].build
    assert build is not None
    if (go := shutil.which("go")) is None:
        raise StackError("go is not on PATH: KEDA's resource definitions come with its Go module", "Install Go")
    answer = subprocess.run(
        [go, "mod", "download", "-json", f"{build.module}@{build.module_version}"],
        cwd=build.recipe,
        env=os.environ | {"GOWORK": "off", "GOFLAGS": "-mod=mod"},
        capture_output=True,
        text=True,
        timeout=MODULE_TIMEOUT_S,
        check=False,
    )
    try:
        folder = Path(json.loads(answer.stdout)["Dir"]) / DEFINITIONS
    except (ValueError, KeyError):
        raise StackError(f"KEDA's Go module cannot be had ({answer.stderr.strip()[:200]})", "Set GOPROXY") from None
    return sorted(folder.glob("*.yaml"))
