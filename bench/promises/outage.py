"""Promises 2 and 3: the collector gone in four ways. Nobody fails or waits, memory is bounded, no span is uncounted.

Five subjects run side by side: one with a healthy collector, and one for each way in which a collector can be gone. The
same paced load goes to all, request by request in turn, so that a noisy machine is equally unfair to all.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bench.promises import subject
from bench.promises.collector import FAULTS, Collector
from bench.promises.figures import Figure, percentile
from bench.promises.subject import Subject

MEMORY_BYTES = 64 * 2**20
P99_RATIO = 1.05
FLOOD_BYTES = 32 * 2**20  # more than the buffer of spans holds


@dataclass
class Load:
    """What one subject answered to a paced load."""

    seconds: list[float] = field(default_factory=list)
    failed: int = 0

    def take(self, answer: tuple[int, float]) -> None:
        status, seconds = answer
        self.seconds.append(seconds)
        self.failed += status != 200


@dataclass
class Troubled:
    """A subject, its collector, and what was seen of both."""

    name: str
    subject: Subject
    collector: Collector
    load: Load = field(default_factory=Load)
    memory: int = 0
    during: dict[str, int] = field(default_factory=dict)


def side_by_side(subjects: Sequence[Subject], loads: Sequence[Load], seconds: float, per_s: float) -> None:
    """The same load to each subject in turn for so long; who comes first changes with every round."""
    pairs = list(zip(subjects, loads, strict=True))
    started, number = time.monotonic(), 0
    while (gone := time.monotonic() - started) < seconds:
        if (due := number / per_s) > gone:
            time.sleep(due - gone)
        first = number % len(pairs)
        for one, load in pairs[first:] + pairs[:first]:
            load.take(one.get(f"/things/{number}"))
        number += 1


def measure(
    binary: Path, folder: Path, seconds: float, *, per_s: float = 20.0, faults: Sequence[str] = tuple(FAULTS)
) -> Iterator[Figure]:
    """All ``faults`` for ``seconds``, at the same time: figures of promises 2 and 3."""
    with ExitStack() as stack:
        healthy = _subject(stack, binary, folder / "healthy")
        troubled = [_subject(stack, binary, folder / name.replace(" ", "-"), name) for name in faults]
        everybody = [healthy.subject, *(one.subject for one in troubled)]
        side_by_side(everybody, [Load() for _ in everybody], min(3.0, seconds / 3), per_s)
        for one in troubled:
            one.memory = one.subject.memory()
        loads = [healthy.load, *(one.load for one in troubled)]
        with ExitStack() as gone:
            for one in troubled:
                gone.enter_context(FAULTS[one.name](one.collector))
            side_by_side(everybody, loads, seconds * 0.8, per_s)
            for one in troubled:
                one.load.failed += one.subject.flood("/spans", FLOOD_BYTES)
            side_by_side(everybody, loads, seconds * 0.2, per_s)
            for one in troubled:
                one.memory = one.subject.memory() - one.memory
                one.during = one.subject.counted("spans")
        for one in troubled:
            yield from _judge(one, healthy.load, seconds)


def _subject(stack: ExitStack, binary: Path, folder: Path, name: str = "healthy") -> Troubled:
    folder.mkdir(parents=True)
    collector = Collector(binary, folder)
    stack.callback(collector.kill)
    collector.start()
    running = stack.enter_context(subject.running(collector.url, subprocess.DEVNULL))
    return Troubled(name, running, collector)


def _judge(one: Troubled, twin: Load, seconds: float) -> Iterator[Figure]:
    load, during = one.load, one.during
    counted = one.subject.settled("spans")
    printed, different = one.collector.received()
    case = f"collector {one.name}, {seconds:g} s"
    asked = f"of {len(load.seconds)}, and a flood of {FLOOD_BYTES >> 20} MiB"
    yield Figure(2, case, "failed requests", load.failed, "0", load.failed == 0, asked)

    ratio = percentile(load.seconds, 0.99) / percentile(twin.seconds, 0.99)
    spread = f"{percentile(load.seconds, 0.99) * 1000:.1f} ms; slowest {max(load.seconds) * 1000:.0f} ms"
    spread += f", the twin's {max(twin.seconds) * 1000:.0f} ms"
    yield Figure(2, case, "p99 over a healthy twin's", round(ratio, 3), f"≤ {P99_RATIO}", ratio <= P99_RATIO, spread)

    grown = round(one.memory / 2**20, 1)
    kept = f"{during['pending']} spans kept, {during['dropped']} dropped by then"
    yield Figure(2, case, "memory grown, MiB", grown, "≤ 64", one.memory <= MEMORY_BYTES, kept)

    recovered = counted["exported"] - during["exported"]
    yield Figure(2, case, "spans delivered after it came back", recovered, "> 0", recovered > 0)

    sums = f"{counted['produced']} = {counted['exported']} + {counted['dropped']}"
    yield Figure(3, case, "produced - exported - dropped", counted["pending"], "0", counted["pending"] == 0, sums)

    # A span that was sent twice, because the first answer was lost, has one id. A collector that was stopped in the
    # middle may have taken what was given up later: then it has received more than was acknowledged, never less.
    surplus = different - counted["exported"]
    held = 0 <= surplus <= counted["dropped"]
    yield Figure(3, case, "received - exported", surplus, "0, or taken but not acknowledged", held,
                 f"{different} received, {printed - different} of them twice")  # fmt: skip
