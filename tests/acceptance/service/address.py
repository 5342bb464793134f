"""An address that leads to one process at a time, as a cluster's Service does for one that nobody balances.

New connections go to where it leads now; those that are open stay where they are until one side ends them.
"""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Address(socketserver.ThreadingTCPServer):
    """Set ``leads_to`` to a port of loopback to lead it elsewhere."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, leads_to: int) -> None:
        super().__init__(("127.0.0.1", 0), _Passage)
        self.leads_to = leads_to
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _Passage(socketserver.BaseRequestHandler):
    request: socket.socket
    server: Address

    def handle(self) -> None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.server.leads_to)) as behind:
            back = threading.Thread(target=_pass_on, args=(behind, self.request), daemon=True)
            back.start()
            _pass_on(self.request, behind)
            back.join()


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while said := source.recv(65_536):
            sink.sendall(said)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


@contextmanager
def address(leads_to: int) -> Iterator[Address]:
    """Open it, and close it at the end."""
    with Address(leads_to) as open_one:
        threading.Thread(target=open_one.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield open_one
        open_one.shutdown()
