"""How much may be said to a process that is no request, or not one yet.

Owns the bounds at the socket that uvicorn's protocol lacks. They lie above what the gateway lets through (16 KiB of
head and Go's 4 more), so whoever comes through it never meets them; they hold whoever gets past it. Without them one
head of 20,000 fields kept everybody waiting for 20 ms, 14,000 small requests in one read for 80, and a head or a
trailer without an end filled the memory.
"""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from service import telemetry

MAX_FIELDS = 6_000
MAX_BYTES = 64 * 1024
"""In reads one after another that bring no body and neither begin nor end a request."""
MAX_WAITING = 100
"""Requests on one connection that wait for the answer to the one before them."""

MALFORMED, TOO_LARGE = PROBLEMS = "malformed-request", "request-head-too-large"
"""Kinds of problem that no request is answered with, since there was none: they are counted beside the others."""


class TooMuch(Exception):
    """Nothing more of this is read."""


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol; answers 431 to a head or a trailer that is too large, and hangs up."""

    _bytes = 0

    def data_received(self, data: bytes) -> None:
        """As uvicorn's. What a single read holds is bounded by whoever reads."""
        self._bytes += len(data)
        super().data_received(data)
        if self._bytes > MAX_BYTES and not self.transport.is_closing():
            self.logger.warning("A request's head or trailer had no end.")
            self._refuse()

    def on_message_begin(self) -> None:
        self._bytes = 0
        if len(self.pipeline) > MAX_WAITING:
            raise TooMuch  # the parser stops at once, and uvicorn answers 400
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self.headers) >= MAX_FIELDS:
            raise TooMuch
        super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        self._bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._bytes = 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """uvicorn's word on what is no request; when there were too many fields it is 431's."""
        if len(self.headers or ()) >= MAX_FIELDS:
            self._refuse()
        else:
            telemetry.metrics.problems.labels(MALFORMED, "").inc()
            super().send_400_response(msg)

    def _refuse(self) -> None:
        telemetry.metrics.problems.labels(TOO_LARGE, "").inc()
        self.transport.write(STATUS_LINE[431] + b"content-length: 0\r\nconnection: close\r\n\r\n")
        self.transport.close()
