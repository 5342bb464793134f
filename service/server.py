"""How a process listens, and how it leaves.

Owns the HTTP server's settings and the order of leaving. uvicorn closes its listener the moment it is told to stop;
a gateway that has not noticed yet would send requests into a closed door. So on SIGTERM or SIGINT the process first
says that it is not ready, keeps serving for ``drain_s`` while the gateway takes it out, and only then stops accepting,
finishes what it has in hand and shuts the application down. A second signal skips the wait.
"""

from __future__ import annotations

import asyncio
import gc
import socket
from types import FrameType

import uvicorn
from fastapi import FastAPI

from service import telemetry
from service.health import Health
from service.protocol import PROBLEMS, BoundedProtocol

# Above the idle time of the gateway's connections (60 s), so that it is never the service which closes one that the
# gateway is about to use.
KEEP_ALIVE_S = 90
# Requests in hand get this long to finish after the listener has closed; none takes longer (request_timeout_s).
FINISH_TIMEOUT_S = 10
YOUNG_OBJECTS = 5_000  # more than a few hundred requests in hand, and their spans, are made of


class DrainingServer(uvicorn.Server):
    """uvicorn, with the wait between "not ready" and "closed"."""

    def __init__(self, config: uvicorn.Config, health: Health, drain_s: float) -> None:
        super().__init__(config)
        self._health = health
        self._drain_s = drain_s
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's; remembers the loop that the signal handler has to wake.

        What the process is made of stays for good, so no garbage collection need look at it: a full one held every
        request for 75 ms. And what requests in hand hold is no garbage, so it takes more to begin one.
        """
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        gc.collect()
        gc.freeze()
        gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Runs inside the signal handler, so it leaves everything to the loop. The process will exit with 0."""
        if self._loop is None or not self.started:
            self.should_exit = True
        else:
            self._loop.call_soon_threadsafe(self._leave)

    def _leave(self) -> None:
        if self._health.draining:
            self.should_exit = True
            return
        self._health.begin_draining()
        asyncio.get_running_loop().call_later(self._drain_s, setattr, self, "should_exit", True)


def serve(
    app: FastAPI,
    health: Health,
    *,
    host: str,
    port: int,
    drain_s: float,
    trusted_proxies: str,
    share_port: bool = False,
) -> None:
    """Serve ``app`` until the process is told to leave.

    ``trusted_proxies``: who may say on whose behalf it calls. ``share_port``: others of the same user may listen on the
    port as well, and the kernel gives each new connection to one of them. It begins to listen once ``app`` has started.
    """
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        loop="uvloop",
        http=BoundedProtocol,
        ws="none",
        lifespan="on",
        access_log=False,  # the door writes one line a request, and knows more
        log_config=None,
        server_header=False,
        forwarded_allow_ips=trusted_proxies,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=FINISH_TIMEOUT_S,
    )
    for kind in PROBLEMS:
        telemetry.metrics.problems.labels(kind, "")  # at zero, so that a first one is seen as an increase
    sockets = [_bind_shared(host, port)] if share_port else None
    DrainingServer(config, health, drain_s).run(sockets)


def _bind_shared(host: str, port: int) -> socket.socket:
    """Bound, and not listening yet: no connection comes before there is somebody to take it."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    shared = socket.socket(family, kind, protocol)
    shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    shared.bind(address)
    return shared
