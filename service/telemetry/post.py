"""Posts one body after the other over one HTTP connection, from a thread.

``http.client`` reads an answer's headers with the parser of e-mails: a delivery costs twice as much with it. This is a
socket and the parser that the server uses. Owns the connection. Knows nothing of what is posted, nor of trying again.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from urllib.parse import urlsplit

import httptools

PORTS = {"http": 80, "https": 443}


class PostFailed(Exception):
    """No whole answer came. ``reused``: the connection had served before, so perhaps it was closed meanwhile."""

    def __init__(self, reused: bool) -> None:
        super().__init__("no answer")
        self.reused = reused


class Answer:
    """What the parser tells of one answer."""

    def __init__(self) -> None:
        self.body = b""
        self.complete = self.keep = False
        self.parser = httptools.HttpResponseParser(self)

    def on_body(self, part: bytes) -> None:
        self.body += part

    def on_message_complete(self) -> None:
        switched = self.parser.should_upgrade()
        if self.parser.get_status_code() < 200 and not switched:
            return  # an interim answer: the one that counts follows
        self.complete = True
        # Once the message is over, the parser no longer knows. After a switch of protocols nothing else is HTTP.
        self.keep = self.parser.should_keep_alive() and not switched


class Poster:
    """Posts to one URL. The connection is made when it is first needed, and kept while the server keeps it."""

    def __init__(self, url: str, content_type: str, timeout_s: float) -> None:
        address = urlsplit(url)
        if address.scheme not in PORTS or not address.hostname:
            raise ValueError(f"{url} is no http or https URL")
        self._host = address.hostname
        self._port = address.port or PORTS[address.scheme]
        self._tls = ssl.create_default_context() if address.scheme == "https" else None
        self._timeout_s = timeout_s
        host = address.netloc.rpartition("@")[2]
        self._head = f"POST {address.path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: {content_type}\r\ncontent-length: "
        self._socket: socket.socket | None = None

    def post(self, body: bytes) -> tuple[int, bytes]:
        """``(HTTP status, body)`` of the answer. Raises PostFailed."""
        reused = self._socket is not None
        try:
            if self._socket is None:
                self._socket = self._connect()
            self._socket.sendall(f"{self._head}{len(body)}\r\n\r\n".encode() + body)
            answer = Answer()
            while not answer.complete:
                received = self._socket.recv(65536)
                if not received:
                    raise ConnectionResetError
                with contextlib.suppress(httptools.HttpParserUpgrade):
                    answer.parser.feed_data(received)
        except (OSError, httptools.HttpParserError) as failure:
            self.close()
            raise PostFailed(reused) from failure
        if not answer.keep:
            self.close()
        return answer.parser.get_status_code(), answer.body

    def forget(self) -> None:
        """In a forked child: the connection is the parent's."""
        self._socket = None

    def close(self) -> None:
        """Let the connection go; the next post makes another."""
        if self._socket is not None:
            self._socket.close()
        self._socket = None

    def _connect(self) -> socket.socket:
        made = socket.create_connection((self._host, self._port), self._timeout_s)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._tls.wrap_socket(made, server_hostname=self._host) if self._tls else made
