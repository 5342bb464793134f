"""When telemetry does what can wait: some two times a second, or at once while somebody waits for it.

A thread that wakes finds cold caches, which costs a tenth of a millisecond however little it has to do; so one thread
keeps time for all of them, and wakes those that deliver only when there is something. Owns that rhythm. Knows nothing
of what is done.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

TICK_S = 0.2
# What is converted and delivered gathers for two ticks: a delivery costs a third of a millisecond of CPU whatever it
# carries, a conversion begins with cold caches. More would be felt: data is in the backends within 2 s (promise 1), and
# the keep policy takes most of these.
GATHER_TICKS = 2


class Ticker:
    """A daemon thread that calls ``tick`` again and again, each time after as many seconds as ``pause_s`` says."""

    def __init__(self, tick: Callable[[], None], pause_s: Callable[[], float] = lambda: TICK_S) -> None:
        self._tick = tick
        self._pause_s = pause_s
        self._stopped = False

    def start(self) -> None:
        threading.Thread(target=self._run, name="telemetry-ticker", daemon=True).start()

    def stop(self) -> None:
        """No further tick; the thread finds out when its pause is over."""
        self._stopped = True

    def _run(self) -> None:
        while True:
            time.sleep(self._pause_s())  # an event to wait for costs as much again
            if self._stopped:
                return
            self._tick()


class Pace:
    """One thread calls ``pause`` and, when nothing is left, sets ``idle``; whoever queues something clears it."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Anew, with nothing queued: at the start, and in a child, whose parent's threads may have held a lock."""
        self._awake, self.idle = threading.Event(), threading.Event()
        self.idle.set()

    def pause(self) -> None:
        """Wait until there is something to deliver, and enough has gathered or somebody waits for it."""
        self._awake.wait()
        self._awake.clear()

    def tick(self) -> None:
        """Enough has gathered, if anything has."""
        if not self.idle.is_set():
            self._awake.set()

    def wake(self) -> None:
        """No pause, whatever there is."""
        self._awake.set()

    def flush(self, timeout_s: float) -> bool:
        """Wait until all is delivered; False when that takes longer than ``timeout_s``."""
        self._awake.set()
        return self.idle.wait(timeout_s)
