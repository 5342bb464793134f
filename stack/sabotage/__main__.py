"""`python -m stack.sabotage --port 8290`: the faults as a process.

Owns the command line, the settings and the list of faults. Refuses to know how any of them works.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import uvicorn

from stack.layout import LOOPBACK, Layout
from stack.native.credentials import Credentials
from stack.sabotage.app import build_app
from stack.sabotage.cache import FlushCache
from stack.sabotage.certificate import ShortCertificate, TlsEndpoint
from stack.sabotage.database import DropIndex, HoldLock, PauseReplay, Server
from stack.sabotage.fault import Fault
from stack.sabotage.hands import Hands, HandsOnHost, OwnHands
from stack.sabotage.network import PaymentsNetwork
from stack.sabotage.processes import Deploy, KillProcess, StopProcess


def build_faults(environ: Mapping[str, str], endpoint: TlsEndpoint, hands: Hands) -> list[Fault]:
    """Every fault of this stack. Addresses are `host:port`, as `stack.components` gives them."""
    secret = Credentials(Path(environ["SIGNALBOX_SECRETS"]))
    primary, replica = (
        Server(environ[name], secret["postgres_password"]) for name in ("SIGNALBOX_POSTGRES", "SIGNALBOX_REPLICA")
    )
    return [
        DropIndex(primary),
        HoldLock(primary),
        PauseReplay(replica),
        FlushCache(f"redis://:{secret['valkey_password']}@{environ['SIGNALBOX_VALKEY']}/0"),
        PaymentsNetwork(
            environ["SIGNALBOX_TOXIPROXY"],
            environ["SIGNALBOX_DETOUR"],
            environ["SIGNALBOX_PAYMENTS"],
            environ["SIGNALBOX_API_UPSTREAMS"].split(),
        ),
        StopProcess(hands),
        KillProcess(hands),
        Deploy(hands),
        ShortCertificate(endpoint),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m stack.sabotage", description="Faults from outside, switchable.")
    parser.add_argument("--port", type=int, default=8290)
    parser.add_argument("--tls-port", type=int, default=8291, help="Where the endpoint with a certificate listens.")
    parser.add_argument("--host", default=LOOPBACK)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    on_host = HandsOnHost() if os.environ["SIGNALBOX_FORM"] == "compose" else None
    data = Path(os.environ["SIGNALBOX_FAULTS_DATA"])  # what is on is kept there
    endpoint = TlsEndpoint(arguments.host, arguments.tls_port, data)
    faults = build_faults(os.environ, endpoint, on_host or OwnHands(Layout.from_environment()))
    app = build_app(
        faults,
        data / "active.json",
        environment=os.environ.get("SIGNALBOX_ENVIRONMENT", "production"),
        endpoint=endpoint,
        hands=on_host,
    )
    uvicorn.run(
        app,
        host=arguments.host,
        port=arguments.port,
        # The plain loop and parser: for a handful of requests the fast ones only cost memory.
        loop="asyncio",
        http="h11",
        ws="none",
        access_log=False,
        server_header=False,
        log_config=None,
        timeout_graceful_shutdown=5,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
