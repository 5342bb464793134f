"""`python -m stack.backends [NAME…]`: get backends by hand and say where each came from.

Owns what that looks like. Results go to stdout, progress to stderr.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich import progress as bars
from rich.console import Console

from stack.backends import Absent, Cancelled, Found, Progress, load_pins, resolve

# Without a terminal, a stage that takes longer than this is heard of again.
QUIET_LIMIT_S = 15.0


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 when all were found, 1 when one is absent or the run was cancelled, 2 for wrong use."""
    pins = load_pins()
    parser = argparse.ArgumentParser(prog="python -m stack.backends", description="Get backend binaries.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of: {', '.join(pins)} (default: all)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--offline", action="store_true", help="do not use the network")
    parser.add_argument("--verify", action="store_true", help="hash cached executables in full")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.names if name not in pins]:
        parser.error(f"no such backend: {', '.join(unknown)}")

    cancel = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: cancel.set())
    answers: list[Found | Absent] = []
    try:
        with _display() as show:
            for name in options.names or pins:
                try:
                    found = resolve(
                        name,
                        progress=show,
                        cancel=cancel,
                        allow_network=not options.offline,
                        thorough=options.verify,
                        pins=pins,
                    )
                    answers.append(found)
                except Absent as absent:
                    answers.append(absent)
    except Cancelled as cancelled:
        print(f"signalbox: cancelled while getting {cancelled}. Run it again to go on", file=sys.stderr)  # noqa: T201
        return 1
    if options.json:
        print(json.dumps({"backends": [_document(answer) for answer in answers]}, indent=2))  # noqa: T201
    else:
        for answer in answers:
            print(_line(answer))  # noqa: T201
    return 1 if any(isinstance(answer, Absent) for answer in answers) else 0


def _document(answer: Found | Absent) -> dict[str, Any]:
    if isinstance(answer, Absent):
        return {"name": answer.name, "missing": answer.missing, "cost": answer.cost, "remedy": answer.remedy}
    return {
        "name": answer.name,
        "version": answer.version,
        "source": answer.source,
        "executables": {name: str(path) for name, path in answer.executables.items()},
        "note": answer.note,
    }


def _line(answer: Found | Absent) -> str:
    if isinstance(answer, Absent):
        return str(answer)
    note = f"  ({answer.note})" if answer.note else ""
    return f"{answer.name} {answer.version}  {answer.source}  {answer.main}{note}"


@contextmanager
def _display() -> Iterator[Callable[[Progress], None]]:
    """A bar for each backend on a terminal; elsewhere a line for each new stage and for each while without one."""
    console = Console(stderr=True)
    if not console.is_terminal:
        last: Progress | None = None

        def show_line(now: Progress) -> None:
            nonlocal last
            same_stage = last is not None and (last.name, last.stage) == (now.name, now.stage)
            if last is None or not same_stage or now.elapsed_s - last.elapsed_s >= QUIET_LIMIT_S:
                last = now
                amount = f" {now.done / now.total:.0%}" if now.total else ""
                line = f"{now.name}: {now.message}{amount} ({now.elapsed_s:.0f} s)"
                console.print(line, highlight=False, soft_wrap=True, markup=False)

        yield show_line
        return
    columns = (
        bars.TextColumn("{task.fields[name]:<12}"),
        bars.BarColumn(bar_width=24),
        bars.TaskProgressColumn(),
        bars.TimeElapsedColumn(),
        bars.TextColumn("{task.description}", markup=False),
    )
    with bars.Progress(*columns, console=console) as display:
        tasks: dict[str, bars.TaskID] = {}

        def show_bar(progress: Progress) -> None:
            if progress.name not in tasks:
                tasks[progress.name] = display.add_task("", name=progress.name, total=None)
            display.update(
                tasks[progress.name],
                description=progress.message,
                completed=progress.done,
                total=progress.total,
            )

        yield show_bar


if __name__ == "__main__":
    sys.exit(main())
