"""`python -m stack.sabotage --port 8290`: the faults as a process.

Owns the command line and the list of faults. Refuses to know how any of them works.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path

import uvicorn

from stack.components import API, FAULTS, components
from stack.layout import LOOPBACK, Layout
from stack.native.credentials import Credentials
from stack.native.launch import read_wish
from stack.sabotage.app import build_app
from stack.sabotage.cache import FlushCache
from stack.sabotage.certificate import ShortCertificate, TlsEndpoint
from stack.sabotage.database import DropIndex, HoldLock, PauseReplay, Server
from stack.sabotage.fault import Fault
from stack.sabotage.network import PaymentsNetwork
from stack.sabotage.processes import Deploy, KillProcess, StopProcess


def build_faults(layout: Layout, endpoint: TlsEndpoint) -> list[Fault]:
    """Every fault of this stack."""
    credentials = Credentials(layout.secrets)
    parts = components(read_wish(layout).replicas)
    ports = {name: layout.port(port) for part in parts for name, port in part.ports.items()}
    primary, replica = (
        Server(ports[name], credentials["postgres_password"]) for name in ("postgres", "postgres-replica")
    )
    apis = {part.name: f"http://{LOOPBACK}:{ports[part.name]}" for part in parts if part.job == API}
    return [
        DropIndex(primary),
        HoldLock(primary),
        PauseReplay(replica),
        FlushCache(f"redis://:{credentials['valkey_password']}@{LOOPBACK}:{ports['valkey']}/0"),
        PaymentsNetwork(
            f"http://{LOOPBACK}:{ports['toxiproxy']}",
            f"{LOOPBACK}:{ports['toxiproxy-payments']}",
            f"{LOOPBACK}:{ports['payments']}",
            apis,
        ),
        StopProcess(layout),
        KillProcess(layout),
        Deploy(layout),
        ShortCertificate(endpoint),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m stack.sabotage", description="Faults from outside, switchable.")
    parser.add_argument("--port", type=int, default=8290)
    parser.add_argument("--data", type=Path, required=True, help="Folder that keeps what is on.")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    environment = os.environ.get("SIGNALBOX_ENVIRONMENT", "production")
    layout = Layout.from_environment()
    endpoint = TlsEndpoint(layout.port(FAULTS.ports["faults-tls"]), arguments.data)
    faults, path = build_faults(layout, endpoint), arguments.data / "active.json"
    app = build_app(faults, path, environment=environment, endpoint=endpoint)
    uvicorn.run(
        app,
        host=LOOPBACK,
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
