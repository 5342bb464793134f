"""When a thread that delivers in batches looks at what has gathered: every so often, or at once while somebody waits.

Owns that rhythm and who waits for it. Knows nothing of what is delivered.
"""

from __future__ import annotations

import threading


class Pace:
    """One thread calls ``pause`` and, when nothing is left, sets ``idle``; whoever queues something clears it."""

    def __init__(self, gather_s: float) -> None:
        self._gather_s = gather_s
        self.begin()

    def begin(self) -> None:
        """Anew, with nothing queued: at the start, and in a child, whose parent's threads may have held a lock."""
        self._hurry, self.idle = threading.Event(), threading.Event()
        self.idle.set()

    def pause(self) -> None:
        """Let things gather."""
        self._hurry.wait(self._gather_s)

    def hurry(self) -> None:
        """No pause from now on."""
        self._hurry.set()

    def flush(self, timeout_s: float) -> bool:
        """Wait until all is delivered, without pauses; False when that takes longer than ``timeout_s``."""
        self._hurry.set()
        try:
            return self.idle.wait(timeout_s)
        finally:
            self._hurry.clear()
