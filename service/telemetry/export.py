"""Sends encoded spans to the collector from a thread of its own: OTLP over HTTP, one connection, bounded buffer.

Owns delivery: retries, back-off, what is given up and how that is counted. Knows nothing of what a span contains.
"""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Mapping

from service.telemetry import otlp
from service.telemetry.instruments import Instruments
from service.telemetry.pace import Pace
from service.telemetry.post import Poster, PostFailed

MAX_BUFFERED_BYTES = 24 * 1024 * 1024  # of the 64 MiB that telemetry may hold while everything stands still
MAX_REQUEST_SPANS = 8192
# Collectors refuse a body of more than 20 MiB for good (confighttp's max_request_body_size), and it is held twice.
MAX_REQUEST_BYTES = 4 * 1024 * 1024
RETRYABLE = frozenset({408, 429, 502, 503, 504})  # OTLP/HTTP specification, "Failures"


class SpanExporter:
    """Takes chunks of encoded spans, delivers them, counts them.

    Accounting is exact: every span handed to ``put`` ends up in exported or dropped. When the collector is away the
    buffer fills, then the oldest spans are dropped: the newest tell more about what is going on now.
    """

    def __init__(
        self,
        url: str | None,
        resource: Mapping[str, object],
        instruments: Instruments,
        *,
        max_bytes: int = MAX_BUFFERED_BYTES,
        timeout_s: float = 5.0,
    ) -> None:
        self._poster = Poster(f"{url.rstrip('/')}/v1/traces", "application/x-protobuf", timeout_s) if url else None
        self._resource = resource
        self._max_bytes = max_bytes
        self._pending: deque[tuple[bytes, int]] = deque()
        self._bytes = 0
        self._lock = threading.Lock()
        self.pace = Pace()
        self._stopping = threading.Event()
        self._produced = instruments.produced.labels("spans")
        self._exported = instruments.exported.labels("spans")
        self._dropped = {
            reason: instruments.dropped.labels("spans", reason)
            for reason in ("buffer_full", "rejected", "disabled", "shutdown")
        }

    def start(self) -> None:
        if self._poster:
            threading.Thread(target=self._run, name="telemetry-spans", daemon=True).start()

    def after_fork(self) -> None:
        """In the child: the parent delivers what is pending, over its own connection."""
        self._lock = threading.Lock()
        self.pace.begin()
        self._pending.clear()
        self._bytes = 0
        if self._poster:
            self._poster.forget()
        self.start()

    def put(self, chunk: bytes, spans: int) -> None:
        """Queue ``chunk``: ``spans`` encoded spans, each a field of ``ScopeSpans``. Sent when ``pace`` says so."""
        self._produced.inc(spans)
        if self._poster is None or self._stopping.is_set():
            self._dropped["shutdown" if self._poster else "disabled"].inc(spans)
            return
        with self._lock:
            self._pending.append((chunk, spans))
            self._bytes += len(chunk)
            while self._bytes > self._max_bytes and self._pending:
                old, count = self._pending.popleft()
                self._bytes -= len(old)
                self._dropped["buffer_full"].inc(count)
            self.pace.idle.clear()

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything queued is delivered; False when that takes longer than ``timeout_s``."""
        return self.pace.flush(timeout_s)

    def stop(self, timeout_s: float) -> None:
        """Flush within ``timeout_s``, then give up what is left and say how much."""
        if not self.flush(timeout_s):
            with self._lock:
                self._dropped["shutdown"].inc(sum(count for _, count in self._pending))
                self._pending.clear()
        self._stopping.set()
        self.pace.wake()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self.pace.pause()
            while self._pending and not self._stopping.is_set():
                self._deliver(*self._take())

    def _take(self) -> tuple[list[bytes], int]:
        chunks: list[bytes] = []
        spans = size = 0
        with self._lock:
            while self._pending and spans < MAX_REQUEST_SPANS and size < MAX_REQUEST_BYTES:
                chunk, count = self._pending.popleft()
                chunks.append(chunk)
                spans += count
                size += len(chunk)
        return chunks, spans

    def _deliver(self, chunks: list[bytes], spans: int) -> None:
        """Send one request, again and again while that may help; it still counts against the buffer meanwhile."""
        size = sum(map(len, chunks))
        body = otlp.export_request(self._resource, "service.telemetry", "1", chunks)
        delay_s = 0.1
        while True:
            status, rejected = self._post(body)
            if 200 <= status < 300:
                self._exported.inc(spans - rejected)
                self._dropped["rejected"].inc(rejected)
                break
            if status and status not in RETRYABLE:
                self._dropped["rejected"].inc(spans)
                break
            # Overtaken: newer spans have filled the buffer. This is the oldest chunk, so it is the one to go.
            if self._bytes > self._max_bytes * 0.95:
                self._dropped["buffer_full"].inc(spans)
                break
            if self._stopping.wait(delay_s * random.uniform(0.5, 1.0)):
                self._dropped["shutdown"].inc(spans)
                break
            delay_s = min(delay_s * 2, 5.0)
        with self._lock:
            self._bytes -= size
            if not self._pending:
                self.pace.idle.set()

    def _post(self, body: bytes) -> tuple[int, int]:
        """``(HTTP status, spans refused)``; status 0 when no answer came."""
        assert self._poster is not None
        try:
            try:
                status, answer = self._poster.post(body)
            except PostFailed as failure:
                if not failure.reused:
                    raise
                status, answer = self._poster.post(body)  # an idle connection that was closed deserves one more try
        except PostFailed:
            return 0, 0
        try:
            return status, otlp.rejected_spans(answer) if status == 200 else 0
        except ValueError:  # no answer of a collector
            return 0, 0
