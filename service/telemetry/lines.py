"""Log lines: JSON on stdout, written by a thread, so that no request ever waits for whoever reads them.

Owns the bounded buffer before stdout and the shape of a line. Knows nothing of spans' insides or metrics.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from collections import deque
from functools import lru_cache
from typing import Any

from opentelemetry import trace
from pythonjsonlogger.orjson import OrjsonFormatter

from service.telemetry.catalog import REQUEST_ID_FIELD
from service.telemetry.exceptions import exception_message, exception_stack
from service.telemetry.instruments import Instruments
from service.telemetry.pace import Pace
from service.telemetry.redact import redact_value
from service.telemetry.spans import Span, exception_name

MAX_BUFFERED_BYTES = 8 * 1024 * 1024  # of the 64 MiB that telemetry may hold while everything stands still


class LineWriter:
    """Writes lines to a file descriptor from a daemon thread. Never blocks its callers; what does not fit is counted.

    Accounting is exact: every line handed to ``put`` ends up in exported or dropped.
    """

    def __init__(self, instruments: Instruments, fd: int = 1, max_bytes: int = MAX_BUFFERED_BYTES) -> None:
        self._fd = fd
        self._max_bytes = max_bytes
        self._pending: deque[tuple[bytes, int]] = deque()
        self._bytes = 0
        self._lock = threading.Lock()
        self.pace = Pace()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._produced = instruments.produced.labels("logs")
        self._exported = instruments.exported.labels("logs")
        self._full = instruments.dropped.labels("logs", "buffer_full")
        self._failed = instruments.dropped.labels("logs", "write_failed")

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="telemetry-lines", daemon=True)
        self._thread.start()

    def after_fork(self) -> None:
        """In the child: the parent writes what is pending."""
        self._lock = threading.Lock()
        self.pace.begin()
        self._pending.clear()
        self._bytes = 0
        self.start()

    def put(self, chunk: bytes, lines: int = 1) -> None:
        """Queue ``chunk``: ``lines`` whole lines, each with its newline. Written when ``pace`` says so."""
        self._produced.inc(lines)
        with self._lock:
            if self._bytes + len(chunk) > self._max_bytes:
                self._full.inc(lines)
                return
            self._pending.append((chunk, lines))
            self._bytes += len(chunk)
            self.pace.idle.clear()

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything queued is written; False when that takes longer than ``timeout_s``."""
        return self.pace.flush(timeout_s)

    def stop(self, timeout_s: float) -> None:
        """Flush within ``timeout_s`` and end the thread; a reader that stands still does not hold the process."""
        self.flush(timeout_s)
        self._stopping = True
        self.pace.wake()

    def _run(self) -> None:
        while True:
            self.pace.pause()
            while self._pending:
                with self._lock:
                    batch = list(self._pending)
                    self._pending.clear()
                lines = sum(count for _, count in batch)
                data = b"".join(chunk for chunk, _ in batch)
                (self._exported if self._write(data) else self._failed).inc(lines)
                with self._lock:
                    self._bytes -= len(data)
                    if not self._pending:
                        self.pace.idle.set()
            if self._stopping:
                return

    def _write(self, data: bytes) -> bool:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._fd, view) :]
            except BlockingIOError:
                time.sleep(0.05)  # a non-blocking stdout that is full
            except OSError:
                return False
        return True


class JsonFormatter(OrjsonFormatter):
    """``python-json-logger`` with the fields that every line of the service has, secrets taken out."""

    def __init__(self, static: dict[str, str]) -> None:
        super().__init__("%(message)s", static_fields=static)

    def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
        if isinstance(record.args, tuple) and any(isinstance(argument, BaseException) for argument in record.args):
            told = (exception_message(one) if isinstance(one, BaseException) else one for one in record.args)
            record.message = record.msg % tuple(told)
        super().add_fields(log_data, record, message_dict)
        log_data.pop("color_message", None)  # uvicorn's message once more, with escape codes
        fields: dict[str, Any] = {
            "timestamp": timestamp(int(record.created * 1e9)),
            "severity": record.levelname,
            "logger": record.name,
        }
        span = trace.get_current_span()
        context = span.get_span_context()
        if context.is_valid:
            fields["trace_id"] = f"{context.trace_id:032x}"
            fields["span_id"] = f"{context.span_id:016x}"
        if isinstance(span, Span) and (request_id := span.request_id()):
            fields[REQUEST_ID_FIELD] = request_id
        if record.exc_info and record.exc_info[1] is not None:
            fields["exception.type"] = exception_name(record.exc_info[1])
            fields["exception.stacktrace"] = exception_stack(record.exc_info[1])
            log_data.pop("exc_info", "")
        for key, value in log_data.items():
            fields[key] = redact_value(key, value)
        log_data.clear()
        log_data.update(fields)


class LineHandler(logging.Handler):
    """A ``logging`` handler that hands formatted lines to the writer. Never raises, never blocks."""

    def __init__(self, writer: LineWriter, formatter: logging.Formatter) -> None:
        super().__init__()
        self._writer = writer
        self.setFormatter(formatter)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._writer.put(self.format(record).encode("utf-8", "replace") + b"\n")
        except Exception:  # telemetry never raises into the service
            with contextlib.suppress(Exception):
                sys.stderr.write(f"log line lost: {record.name}\n")


@lru_cache(maxsize=4)
def _second(unix_s: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(unix_s))


def timestamp(unix_ns: int) -> str:
    """RFC 3339 in UTC with microseconds."""
    seconds, rest = divmod(unix_ns, 1_000_000_000)
    return f"{_second(seconds)}.{rest // 1000:06d}Z"
