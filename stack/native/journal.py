"""The logs of the native stack's parts, as files: printed, and followed while they grow. Knows no component."""

import sys
import time
from pathlib import Path

from stack.layout import Layout
from stack.native import processes

FOLLOW_S = 0.2


def log_names(layout: Layout) -> list[str]:
    """Of whom there is a log."""
    return sorted(log.stem for log in layout.logs.glob("*.log"))


def print_log(layout: Layout, name: str, lines: int, *, follow: bool) -> int:
    """Print the last lines of a log, and go on with what is added."""
    path = layout.log(name)
    size = path.stat().st_size
    for line in last_lines(layout, name, lines):
        print(line)  # noqa: T201
    if follow:
        _tail(path, size)
    return 0


def last_lines(layout: Layout, name: str, count: int) -> list[str]:
    """What a part said last."""
    return processes.last_lines(layout.log(name), count, most_bytes=max(16_384, count * 4_096)) if count else []


def add_line(layout: Layout, name: str, line: str) -> None:
    """Add a line to the log of that name."""
    with layout.log(name).open("a", encoding="utf-8") as file:
        file.write(line)


def _tail(path: Path, position: int) -> None:
    """Print what is added to a log until interrupted; a log that was emptied is read from its beginning."""
    while True:
        size = path.stat().st_size if path.exists() else 0
        position = min(position, size) if size >= position else 0
        if size > position:
            with path.open("rb") as file:
                file.seek(position)
                added = file.read()
            position += len(added)
            sys.stdout.write(added.decode(errors="replace"))
            sys.stdout.flush()
        time.sleep(FOLLOW_S)
