"""What the service's tests need beyond its front door: the database's own word, and an api of their own.

The api of their own uses the stack's database, Valkey and payments, but nobody scrapes it: what a test does to it burns
no error budget of the stack.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest

from bench.ports import free_port
from tests.acceptance.backends import eventually
from tests.acceptance.service.issuer_name import reach
from tests.conftest import ROOT, Stack

Sql = Callable[..., list[asyncpg.Record]]


@dataclass(frozen=True)
class Addresses:
    """Where the stack keeps its data, passwords included."""

    database: str
    superuser: str
    valkey: str

    def url(self, database: str) -> str:
        """Of another database there, as the service is told."""
        return self.database.rsplit("/", 1)[0] + f"/{database}"

    def dsn(self, database: str = "signalbox") -> str:
        """For asyncpg itself, as the service's role."""
        return self.database.replace("+asyncpg", "").rsplit("/", 1)[0] + f"/{database}"


@dataclass
class Process:
    """A process of the service that the test started."""

    popen: subprocess.Popen[bytes]
    http: httpx.Client

    def kill(self) -> None:
        """End it as a power cut would."""
        self.popen.send_signal(signal.SIGKILL)
        self.popen.wait()

    def counter(self, sample: str) -> float:
        """Value of one sample of its ``/metrics``, by its name and labels as written there; 0 when it is not there."""
        for line in self.http.get("/metrics").text.splitlines():
            if line.startswith(f"{sample} "):
                return float(line.split()[1])
        return 0.0


@pytest.fixture(scope="session")
def addresses(stack: Stack) -> Addresses:
    offset = stack.port_offset
    postgres = f"127.0.0.1:{15432 + offset}"
    return Addresses(
        database=f"postgresql+asyncpg://signalbox:{stack.secret('database_password')}@{postgres}/signalbox",
        superuser=f"postgresql://postgres:{stack.secret('postgres_password')}@{postgres}/postgres",
        valkey=f"redis://:{stack.secret('valkey_password')}@127.0.0.1:{16379 + offset}/0",
    )


@pytest.fixture(scope="session")
def sql(addresses: Addresses) -> Sql:
    """Runs one statement on the primary, as the service's role or as ``superuser``, and returns its rows."""

    def run(
        statement: str, *parameters: Any, database: str = "signalbox", superuser: bool = False
    ) -> list[asyncpg.Record]:
        dsn = addresses.superuser if superuser else addresses.dsn(database)

        async def fetch() -> list[asyncpg.Record]:
            connection = await asyncpg.connect(dsn, timeout=10)
            try:
                return await connection.fetch(statement, *parameters)
            finally:
                await connection.close()

        return asyncio.run(fetch())

    return run


@pytest.fixture
def scratch(sql: Sql) -> Iterator[str]:
    """An empty database of the test's own."""
    name = f"scratch_{uuid4().hex[:12]}"
    sql(f"CREATE DATABASE {name} OWNER signalbox", superuser=True)
    yield name
    sql(f"DROP DATABASE {name} WITH (FORCE)", superuser=True)


def environment(stack: Stack, addresses: Addresses, **changes: str) -> Mapping[str, str]:
    """What a process of the service is told, beside the stack's own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SIGNALBOX_")}
    ours = {
        "DATABASE_URL": addresses.database,
        "VALKEY_URL": addresses.valkey,
        "PAYMENTS_URL": stack.urls["payments"],
        "SIGN_IN": "off",  # unless it is what the test is about
        "CLIENT_SECRET": stack.secret("client_secret"),  # the stack's payments wants a token
        "OTLP_URL": "",
        "INSTANCE": "api-of-a-test",
        "DRAIN_S": "0",
        **changes,
    }
    issuer = reach(stack.urls["issuer"])
    return kept | issuer | {f"SIGNALBOX_{name}": value for name, value in ours.items()}


@contextmanager
def run_service(
    stack: Stack, addresses: Addresses, log: Path, service: str = "api", port: int = 0, **changes: str
) -> Iterator[Process]:
    """A process of the service that is the test's own, ready."""
    port = port or free_port()
    with (
        log.open("wb") as output,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=15) as client,
        subprocess.Popen(
            [sys.executable, "-m", "service", service, "--port", str(port)],
            cwd=ROOT,
            env=environment(stack, addresses, **changes),
            stdout=output,
            stderr=output,
        ) as popen,
    ):
        try:
            eventually(lambda: client.get("/readyz").status_code == 200, f"{service} of the test's own", within_s=60)
            yield Process(popen, client)
        finally:
            popen.kill()


def run_api(stack: Stack, addresses: Addresses, log: Path, **changes: str) -> AbstractContextManager[Process]:
    """An api of the test's own, ready."""
    return run_service(stack, addresses, log, "api", **changes)


@pytest.fixture(scope="module")
def api(stack: Stack, addresses: Addresses, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with run_api(stack, addresses, tmp_path_factory.mktemp("api") / "api.log") as process:
        yield process
