"""A real server around an instrumented application, in this process, with what it tells recorded."""

from __future__ import annotations

import socket
import threading
import time

import httpx2
import uvicorn
from opentelemetry.proto.trace.v1.trace_pb2 import Span as WireSpan
from starlette.applications import Starlette

from service.telemetry import instrument
from service.telemetry.testing import Recorded

SERVER = WireSpan.SpanKind.SPAN_KIND_SERVER


class Served:
    """An instrumented application behind a real server, and what it told."""

    def __init__(self, app: Starlette) -> None:
        self.app = app
        self.recorded = Recorded(instrument(app, service_name="tested"))
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.address = self.socket.getsockname()
        config = uvicorn.Config(
            app, log_config=None, ws="websockets-sansio", lifespan="on", timeout_graceful_shutdown=2
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self.socket],), daemon=True)
        self._thread.start()
        self.thread_id = self._thread.ident or 0
        # A connection each: after a failure the server closes it, when the next request may be under way.
        self.http = httpx2.Client(
            base_url=f"http://127.0.0.1:{self.address[1]}",
            timeout=10,
            limits=httpx2.Limits(max_keepalive_connections=0),
        )

    def stop(self) -> None:
        self.http.close()
        self._server.should_exit = True
        self._thread.join(10)
        assert not self._thread.is_alive()

    def server_span(self, within_s: float = 5.0) -> WireSpan:
        """The one server span, once it has come."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            found = [span for span in self.recorded.spans() if span.kind == SERVER]
            if found:
                assert len(found) == 1, [span.name for span in found]
                return found[0]
            time.sleep(0.01)
        raise AssertionError(f"no server span within {within_s:g} s")

    def raw(self, request: str) -> socket.socket:
        """A connection on which a request was begun, to be left at any time."""
        connection = socket.create_connection(self.address, timeout=10)
        connection.sendall(request.replace("\n", "\r\n").encode())
        return connection
