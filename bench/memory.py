"""``python -m bench.memory``: how much memory the running stack needs, part by part; run it on a stack that is idle.

Proportional set size, so that a page which several processes share counts once; children belong to the part that
started them (a connection of PostgreSQL is a process). Linux only. Writes ``bench/results/memory.json``. Exit code 1:
more than ``MOST_MIB``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import psutil

from bench.keep import keep

ROOT = Path(__file__).parent.parent
MOST_MIB = 1.2 * 1024


def main() -> int:
    """Print a line a part, and the sum."""
    status = subprocess.run(
        [sys.executable, "-m", "stack", "status", "--json"], cwd=ROOT, capture_output=True, check=False
    )
    parts = json.loads(status.stdout)["components"] if status.stdout.startswith(b"{") else []
    pids = {part["name"]: part["pid"] for part in parts if part["pid"]}
    if not pids:
        sys.stderr.write("bench-memory: the stack is not up. Run `make up` first\n")
        return 1
    supervisor = psutil.Process(next(iter(pids.values()))).parent()
    used = {name: _family_mib(psutil.Process(pid)) for name, pid in pids.items()}
    if supervisor is not None:
        used["supervisor"] = _mib(supervisor)
    total = sum(used.values())
    for name, mib in sorted(used.items(), key=lambda entry: -entry[1]):
        sys.stdout.write(f"{name:18} {mib:7.1f} MiB\n")
    sys.stdout.write(f"{'all':18} {total:7.1f} MiB of {MOST_MIB:.0f}\n")
    parts = {name: round(mib, 1) for name, mib in sorted(used.items())}
    keep("memory", {"total_mib": round(total, 1), "most_mib": round(MOST_MIB, 1), "parts_mib": parts})
    return 0 if total <= MOST_MIB else 1


def _family_mib(process: psutil.Process) -> float:
    return sum(_mib(member) for member in (process, *process.children(recursive=True)))


def _mib(process: psutil.Process) -> float:
    return float(process.memory_full_info().pss) / 2**20


if __name__ == "__main__":
    sys.exit(main())
