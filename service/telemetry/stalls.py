"""Tells which line of code keeps the event loop from running.

The loop's own timer (``runtime.observe_loop_lag``) says when it ran last; the ticker looks at the moment when the next
beat would be too late, which costs a healthy process next to nothing, and only then reads the loop's stack. Owns the
judgement what blocks and how it is told: a line while it lasts, an event of the request's span, the seconds by frame
when it is over.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import sysconfig
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType

from service.telemetry.instruments import Instruments
from service.telemetry.middleware import ServerSpan, TelemetryMiddleware
from service.telemetry.pace import TICK_S
from service.telemetry.spans import Span

# A timer that is so late is a stall; below it the histogram of the loop's lag is enough.
STALL_S = 0.1
# Distinct frames a process may export; what comes later is counted under one name.
MAX_FRAMES = 20
OTHER_FRAME = "other"
MAX_STACK = 12

_logger = logging.getLogger("service.loop")
_LIBRARIES = tuple({path for name, path in sysconfig.get_paths().items() if name in ("stdlib", "purelib", "platlib")})
_LOOP = ("asyncio.", "selectors", "uvloop.", "uvicorn.")  # who is on the stack when nobody blocks
_MIDDLEWARE = TelemetryMiddleware.__call__.__code__


@dataclass(frozen=True)
class Blocker:
    """What was found on the stack: the frame to blame, the way to it (outermost first), the request it works for."""

    frame: str
    stack: tuple[str, ...]
    request: Span | None


@dataclass(frozen=True)
class Told:
    """A stall that was told and is not over yet, or not yet counted. ``beat``: when the loop had run last."""

    beat: float
    frame: str
    exemplar: dict[str, str] | None


class LoopWatch:
    """``beat`` is called by the loop's timer every ``interval_s``, ``look`` by the ticker. One a process."""

    def __init__(self, instruments: Instruments, interval_s: float, stall_s: float = STALL_S) -> None:
        self._seconds = instruments.loop_stalled
        self._frames: set[str] = set()
        self._patience_s = interval_s + stall_s
        self._beat = self._due = 0.0
        self._thread_id = 0  # none: the loop does not run
        self._told: Told | None = None
        self._over: deque[tuple[float, float]] = deque(maxlen=8)  # from which beat to which a stall went

    def start(self) -> float:
        """Begin to watch the loop of the calling thread. Returns the time, of ``perf_counter``."""
        self._beat = time.perf_counter()
        self._thread_id = threading.get_ident()
        return self._beat

    def beat(self) -> float:
        """The loop runs. Returns the time, of ``perf_counter``."""
        before, self._beat = self._beat, time.perf_counter()
        if self._beat - before > self._patience_s:
            self._over.append((before, self._beat))
        return self._beat

    def stop(self) -> None:
        self._thread_id = 0

    def pause_s(self) -> float:
        """Seconds until the loop's next beat is too late, when ``look`` can tell; a tick when it is already."""
        now = time.perf_counter()
        left_s = self._beat + self._patience_s - now
        pause_s = left_s if left_s > 0 else TICK_S
        self._due = now + pause_s
        return pause_s

    def look(self) -> None:
        """Tell of a loop that stands still now, and count one that did."""
        while self._over:
            beat, resumed = self._over.popleft()
            if self._told is not None and self._told.beat == beat:
                self._seconds.labels(self._bounded(self._told.frame)).inc(resumed - beat, self._told.exemplar)
                self._told = None
        now, beat = time.perf_counter(), self._beat
        late = now - self._due > STALL_S  # this thread as well: the machine, not a frame of ours
        if late or not self._thread_id or self._told is not None or now - beat < self._patience_s:
            return
        if blocker := find_blocker(self._thread_id):
            with contextlib.suppress(Exception):  # frames of a running thread change while they are read
                self._tell(blocker, beat)

    def _tell(self, blocker: Blocker, beat: float) -> None:
        """A line at once, as the loop may never run again; the seconds when it does."""
        trace = blocker.request.get_span_context() if blocker.request else None
        frame_module, _, line = blocker.frame.rpartition(":")
        exemplar = {"trace_id": f"{trace.trace_id:032x}", "span_id": f"{trace.span_id:016x}"} if trace else None
        self._told = Told(beat, blocker.frame, exemplar)
        fields = {
            "code.function.name": frame_module.replace(":", "."),
            "code.line.number": int(line),
            "code.stacktrace": "\n".join(blocker.stack),
            **(exemplar or {}),
        }
        _logger.warning("event loop blocked by %s", blocker.frame, extra=fields)
        if blocker.request is not None:
            blocker.request.add_event("event_loop.blocked", {"code.frame": blocker.frame})

    def _bounded(self, frame: str) -> str:
        if frame not in self._frames and len(self._frames) >= MAX_FRAMES:
            return OTHER_FRAME
        self._frames.add(frame)
        return frame


def find_blocker(thread_id: int) -> Blocker | None:
    """Who holds the loop of that thread; None when the loop is idle, or waits for the processor."""
    leaf = sys._current_frames().get(thread_id)
    if leaf is None or _module(leaf).startswith(_LOOP):
        return None
    frames = list(_outwards(leaf))
    # The application's innermost frame says more than the library's that it called.
    blamed = next((frame for frame in frames if not frame.f_code.co_filename.startswith((*_LIBRARIES, "<"))), leaf)
    request = next((frame.f_locals.get("span") for frame in _outwards(leaf) if frame.f_code is _MIDDLEWARE), None)
    stack = tuple(_name(frame) for frame in reversed(frames[:MAX_STACK]))
    return Blocker(_name(blamed), stack, request if isinstance(request, ServerSpan) else None)


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    """The frame and its callers, up to the loop."""
    while frame is not None and not _module(frame).startswith("asyncio."):
        yield frame
        frame = frame.f_back


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "?"))


def _name(frame: FrameType) -> str:
    """``module:function:line``."""
    line = frame.f_lineno or frame.f_code.co_firstlineno  # between two lines there is none
    return f"{_module(frame)}:{frame.f_code.co_qualname}:{line}"
