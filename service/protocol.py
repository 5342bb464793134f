"""How much a request may say before it is one.

Owns the bounds of its head at the socket; the gateway's are narrower, and this holds whoever gets past it. uvicorn's
protocol has none: one request of 20,000 fields held everybody else's for 20 ms, and a head without an end would fill
the memory.
"""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

MAX_FIELDS = 100
MAX_HEAD_BYTES = 64 * 1024


class HeadTooLarge(Exception):
    """The head has more fields than it may."""


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol; answers 431 to a head that is too large and hangs up."""

    _in_head = True
    _head_bytes = 0
    _read_bytes = 0

    def data_received(self, data: bytes) -> None:
        """As uvicorn's. Reads that do not end the head add up; a single read is bounded by what the loop reads."""
        self._read_bytes = len(data)
        super().data_received(data)
        if not self._in_head:
            return
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.logger.warning("The head of a request had no end.")
            self._refuse()

    def on_message_begin(self) -> None:
        self._in_head = True
        self._head_bytes = -self._read_bytes  # the end of another may be in the read that it begins in
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self.headers) >= MAX_FIELDS:
            raise HeadTooLarge  # the parser stops at once and uvicorn answers
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """uvicorn's word on what is no request; on a head that is too large it is 431's."""
        if self._in_head and len(self.headers or ()) >= MAX_FIELDS:
            self._refuse()
        else:
            super().send_400_response(msg)

    def _refuse(self) -> None:
        self.transport.write(STATUS_LINE[431] + b"content-length: 0\r\nconnection: close\r\n\r\n")
        self.transport.close()
