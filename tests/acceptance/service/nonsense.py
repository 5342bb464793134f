"""A server that answers every request with the same few bytes, and remembers whether it was asked."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NO_HEADERS: Mapping[str, str] = {}


class Nonsense(str):
    """Its address. ``asked`` is every path that it was asked for."""

    asked: list[str]


@contextmanager
def nonsense(said: bytes, status: int = 200, headers: Mapping[str, str] = NO_HEADERS) -> Iterator[Nonsense]:
    """Have one, until the end."""
    asked: list[str] = []

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.path)
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(said))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(said)

        do_GET = do_DELETE = do_POST

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    address = Nonsense(f"http://127.0.0.1:{server.server_address[1]}")
    address.asked = asked
    yield address
    server.shutdown()
    server.server_close()
