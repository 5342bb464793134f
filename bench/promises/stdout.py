"""Promise 4 and the lines' half of 3: stdout is a full pipe that nobody reads. Nobody waits, no line is uncounted."""

from __future__ import annotations

import os
import platform
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.promises import subject
from bench.promises.figures import Figure, percentile
from bench.promises.outage import MEMORY_BYTES, Load, side_by_side

WAIT_MS = 50
FLOOD_BYTES = 12 * 2**20  # more than the buffer of lines holds
LAST_WORDS = 5
NOBODY, LOOP, WRITER = "nobody", "loop", "writer"
WRITE_CALL = {"x86_64": "1", "aarch64": "64"}  # number of write(2)


def measure(seconds: float, *, per_s: float = 40.0) -> Iterator[Figure]:
    """Nobody reads stdout for ``seconds``, then somebody does: figures of promises 4 and 3."""
    read, write = os.pipe()
    pipe = os.fdopen(read, "rb", buffering=0)
    with subject.running("", subprocess.DEVNULL) as calm, subject.running("", write) as troubled:
        os.close(write)
        calm_load, load = Load(), Load()
        side_by_side([calm, troubled], [Load(), Load()], min(2.0, seconds / 4), per_s)
        before = troubled.memory()
        troubled.get("/lines")  # fills the pipe: every line from now on finds it full
        with _watching(troubled) as waits:
            side_by_side([calm, troubled], [calm_load, load], seconds, per_s)
        load.failed += troubled.flood("/lines", FLOOD_BYTES)
        grown = troubled.memory() - before
        during = troubled.counted("logs")
        received: list[bytes] = []
        reader = threading.Thread(target=lambda: received.append(pipe.read()), daemon=True)
        reader.start()
        troubled.settled("logs")
        load.take(troubled.get("/things/1"))
        time.sleep(1.0)
        counted = troubled.settled("logs")
    reader.join(30)
    pipe.close()
    lines = received[0].count(b"\n") if received else 0

    case = f"stdout stalled {seconds:g} s"
    # The slowest request of a busy machine is the scheduler's. What waits for a pipe can be seen in the kernel.
    beyond = round(1000 * (percentile(load.seconds, 0.99) - percentile(calm_load.seconds, 0.99)), 1)
    spread = f"slowest {max(load.seconds) * 1000:.0f} ms, the twin's {max(calm_load.seconds) * 1000:.0f} ms"
    yield Figure(4, case, "p99 beyond a healthy twin's, ms", beyond, f"≤ {WAIT_MS}", beyond <= WAIT_MS, spread)
    seen = f"of {len(waits)} looks; its writer's thread in {waits.count(WRITER)}"
    held = waits.count(LOOP) == 0 and waits.count(WRITER) > 0
    yield Figure(4, case, "looks that saw the loop wait for stdout", waits.count(LOOP), "0", held, seen)
    yield Figure(4, case, "failed requests", load.failed, "0", load.failed == 0, f"of {len(load.seconds)}, and a flood")
    mib = round(grown / 2**20, 1)
    kept = f"{during['pending']} lines kept, {during['dropped']} dropped by then"
    yield Figure(4, case, "memory grown, MiB", mib, "≤ 64", grown <= MEMORY_BYTES, kept)
    sums = f"{counted['produced']} = {counted['exported']} + {counted['dropped']}"
    yield Figure(3, case, "lines produced - exported - dropped", counted["pending"], "0", counted["pending"] == 0, sums)
    # The process says a few words more between the last look at its counters and its end.
    surplus = lines - counted["exported"]
    yield Figure(
        3, case, "lines read - exported", surplus, f"0 to {LAST_WORDS}", 0 <= surplus <= LAST_WORDS, f"{lines} read"
    )


@contextmanager
def _watching(one: subject.Subject) -> Iterator[list[str]]:
    """Looks twenty times a second which thread of the process is inside ``write`` to its standard output."""
    seen: list[str] = []
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.05):
            inside = [task.name for task in Path(f"/proc/{one.popen.pid}/task").iterdir() if _writes_to_stdout(task)]
            seen.append(LOOP if str(one.popen.pid) in inside else WRITER if inside else NOBODY)

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()


def _writes_to_stdout(task: Path) -> bool:
    """Linux tells the system call that a thread is in, and its arguments."""
    try:
        call, *arguments = (task / "syscall").read_text().split()
    except (OSError, ValueError):
        return False
    return call == WRITE_CALL[platform.machine()] and int(arguments[0], 16) == 1
