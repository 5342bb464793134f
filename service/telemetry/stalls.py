"""Tells which line of code keeps the event loop from running.

The loop's own timer (``runtime.observe_loop_lag``) says when it ran last; a thread looks ten times a second whether
that is too long ago, which costs a healthy process next to nothing, and only then reads the loop's stack. Owns the
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
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType

from service.telemetry.instruments import Instruments
from service.telemetry.middleware import ServerSpan, TelemetryMiddleware
from service.telemetry.spans import Span

LOOK_S = 0.1
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


class LoopWatch:
    """``beat`` is called by the loop's timer; the thread does the rest. One a process."""

    def __init__(self, instruments: Instruments, interval_s: float, stall_s: float = STALL_S) -> None:
        self._seconds = instruments.loop_stalled
        self._frames: set[str] = set()
        self._patience_s = interval_s + stall_s
        self._beat = 0.0
        self._thread_id = 0
        self._stopping = threading.Event()

    def start(self) -> None:
        """Begin to watch the loop of the calling thread."""
        self._thread_id = threading.get_ident()
        self.beat()
        threading.Thread(target=self._run, name="telemetry-loop-watch", daemon=True).start()

    def beat(self) -> None:
        """The loop runs."""
        self._beat = time.perf_counter()

    def stop(self) -> None:
        self._stopping.set()

    def _run(self) -> None:
        looked = time.perf_counter()
        while not self._stopping.wait(LOOK_S):
            last, looked = looked, time.perf_counter()
            if looked - last > 2 * LOOK_S:  # this thread was late as well: the machine, not a frame of ours
                continue
            beat = self._beat
            if looked - beat > self._patience_s and (blocker := find_blocker(self._thread_id)):
                with contextlib.suppress(Exception):  # frames of a running thread change while they are read
                    self._tell(blocker, beat)
                looked = time.perf_counter()

    def _tell(self, blocker: Blocker, beat: float) -> None:
        """A line at once, as the loop may never run again; the seconds when it does."""
        trace = blocker.request.get_span_context() if blocker.request else None
        frame_module, _, line = blocker.frame.rpartition(":")
        fields: dict[str, object] = {
            "code.function.name": frame_module.replace(":", "."),
            "code.line.number": int(line),
            "code.stacktrace": "\n".join(blocker.stack),
        }
        if trace:
            fields |= {"trace_id": f"{trace.trace_id:032x}", "span_id": f"{trace.span_id:016x}"}
        _logger.warning("event loop blocked by %s", blocker.frame, extra=fields)
        if blocker.request is not None:
            blocker.request.add_event("event_loop.blocked", {"code.frame": blocker.frame})
        while self._beat == beat and not self._stopping.wait(LOOK_S / 10):
            pass
        seconds = self._beat - beat
        exemplar = {"trace_id": str(fields["trace_id"]), "span_id": str(fields["span_id"])} if trace else None
        self._seconds.labels(self._bounded(blocker.frame)).inc(max(seconds, 0.0), exemplar)

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
