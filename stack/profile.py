"""`signalbox profile`: where a live process of the service spends its time, as a flame graph.

Owns finding the process, running py-spy on it and saying in one line why that did not work. py-spy reads the process's
memory from outside; the process runs on, is not restarted and knows nothing of it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

from incidents.cli import REPORTS
from incidents.session import PROFILES
from stack.components import components
from stack.errors import StackError, WrongUse
from stack.state import StackState

SAMPLES_PER_S = 100  # py-spy's default; each takes the process about a millisecond of pause
GRACE_S = 15.0  # py-spy writes the picture after the last sample
_SAMPLES = re.compile(r"Samples:\s*(\d+)\s+Errors:\s*(\d+)")
_TITLE = re.compile(r"<title>(.+?) \((\d[\d,]*) samples?, ([\d.]+)%\)</title>")


@dataclass(frozen=True)
class Target:
    """A running process of the service."""

    name: str
    pid: int


@dataclass(frozen=True)
class Profile:
    """What was recorded. ``hottest``: the repository's own frames that were widest, with their share in percent."""

    component: str
    pid: int
    seconds: float
    samples: int
    errors: int
    file: str
    hottest: list[tuple[str, float]]


def find_target(state: StackState, service: str, replica: int | None) -> Target:
    """The process called ``service`` (api, worker, payments, or api-2). Raises WrongUse or StackError."""
    python = [part for part in components(state.replicas) if part.faults]  # the service's own processes
    jobs = list(dict.fromkeys(part.job for part in python))
    chosen = [part.name for part in python if service in (part.name, part.job)]
    if not chosen:
        raise WrongUse(f"there is no service {service!r}", f"There are {', '.join(jobs)}")
    if replica is not None:
        if not 1 <= replica <= len(chosen):
            raise WrongUse(f"{service} has no replica {replica}", f"There are {', '.join(chosen)}")
        chosen = chosen[replica - 1 : replica]
    running = state.named(chosen[0])
    if running is None or running.pid is None:
        raise StackError(f"{chosen[0]} does not run", "See `signalbox status`")
    return Target(chosen[0], running.pid)


def default_file(target: Target) -> Path:
    """Where a profile goes unless told otherwise: where the report of an incident that runs now looks for it."""
    return REPORTS / PROFILES / f"{target.name}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.svg"


def record(target: Target, seconds: int, file: Path, *, tick: Callable[[float], None]) -> Profile:
    """Sample for ``seconds`` and write the flame graph (SVG) to ``file``. ``tick`` gets the seconds gone by.

    Raises StackError when py-spy is missing, may not look, or the process ends meanwhile.
    """
    spy = _find_spy()
    file.parent.mkdir(parents=True, exist_ok=True)
    command = [spy, "record", "--pid", str(target.pid), "--output", str(file), "--format", "flamegraph"]
    command += ["--duration", str(seconds), "--rate", str(SAMPLES_PER_S), "--threads"]
    started = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            while process.poll() is None:
                gone = time.monotonic() - started
                tick(min(gone, seconds))
                if gone > seconds + GRACE_S:
                    raise StackError(f"py-spy has not ended {GRACE_S:g} s after its time", "Try again")
                if not psutil.pid_exists(target.pid):
                    raise StackError(
                        f"{target.name} (process {target.pid}) has ended meanwhile", "See `signalbox status`"
                    )
                time.sleep(0.1)
        finally:
            process.kill()
        said = process.stdout.read() if process.stdout else ""
    found = _SAMPLES.search(said)
    if process.returncode or not file.exists() or found is None:
        raise StackError(*_explain(said, target))
    if not _runs(target.pid):
        seen = f"What was seen until then is in {file}" if int(found[1]) else "See `signalbox status`"
        raise StackError(f"{target.name} (process {target.pid}) has ended meanwhile", seen)
    samples, errors = int(found[1]), int(found[2])
    return Profile(target.name, target.pid, seconds, samples, errors, str(file), hottest(file.read_text(), samples))


def hottest(svg: str, samples: int, most: int = 5) -> list[tuple[str, float]]:
    """The repository's own frames that were on the stack most often, with their share of the samples in percent."""
    counted: dict[str, int] = {}
    for frame, count, _ in _TITLE.findall(svg):
        if "(service/" in frame:
            counted[frame] = max(counted.get(frame, 0), int(count.replace(",", "")))
    widest = sorted(counted.items(), key=lambda item: -item[1])[:most]
    return [(frame, round(100 * count / max(samples, 1), 1)) for frame, count in widest]


def _find_spy() -> str:
    beside = Path(sys.executable).with_name("py-spy")
    spy = str(beside) if beside.exists() else shutil.which("py-spy")
    if spy is None:
        raise StackError("py-spy is not installed", "It is in requirements.lock: `make up` makes the environment whole")
    return spy


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _explain(said: str, target: Target) -> tuple[str, str]:
    """py-spy's words → what happened and the remedy."""
    low = said.lower()
    if "permission denied" in low or "operation not permitted" in low:
        return (
            f"this user may not look into process {target.pid}",
            "Run it as root, allow it with `sysctl kernel.yama.ptrace_scope=0`, or give a container CAP_SYS_PTRACE",
        )
    if "no such process" in low or "failed to find" in low or not _runs(target.pid):
        return f"{target.name} (process {target.pid}) is gone", "See `signalbox status`"
    lines = [line for line in said.splitlines() if line.strip()]
    return f"py-spy failed: {lines[-1] if lines else 'it said nothing'}", "Try again"
