"""The service under measurement, in a process of its own: ``python -m bench.telemetry.subject MODE --port P``.

Owns the routes that are driven and how each mode wires them. The routes are the real service's; only the empty one is
added. Knows nothing of load and arithmetic. SIGUSR1 sends out whatever telemetry still waits in a batch.
"""

from __future__ import annotations

import argparse
import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import FastAPI  # loaded once the stock wiring has its hands on it

MODES = ("bare", "default", "all", "stock")


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(prog="python -m bench.telemetry.subject")
    parser.add_argument("mode", choices=MODES)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    flush: Callable[[], object] = lambda: None  # noqa: E731
    if options.mode == "stock":
        from bench.telemetry import stock

        flush = stock.instrument_libraries()
    app = build_subject(options.mode)
    if options.mode == "stock":
        stock.instrument_app(app)
    from service.server import serve

    signal.signal(signal.SIGUSR1, lambda *_: flush())
    serve(app, app.state.health, host="127.0.0.1", port=options.port, drain_s=0, trusted_proxies="127.0.0.1")


def build_subject(mode: str) -> FastAPI:
    """The service with the door or without, and with an empty route. The stock wiring's libraries come before."""
    os.environ["SIGNALBOX_TELEMETRY"] = "off" if mode in ("bare", "stock") else "on"
    from service.catalog import repository
    from service.edge import ratelimit

    # Once in a while a request renews a cached entry or draws a slice of its quota, and makes a span more. In a run
    # that counts spans these come at the beginning, and then not for an hour; everything else is done as ever.
    repository.PRODUCT_TTL_S = ratelimit.SLICE_S = 3600.0
    os.environ["SIGNALBOX_RATE_LIMIT"] = "999999999/1"
    from service.processes.api import build_app
    from service.settings import load_settings

    app = build_app(load_settings("api"))

    @app.get("/empty")
    async def empty() -> dict[str, bool]:
        return {"ok": True}

    return app


if __name__ == "__main__":
    main()
