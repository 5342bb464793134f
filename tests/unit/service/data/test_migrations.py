"""Each version that is applied is told: a span, a line with its duration, and what was in the way. A real server."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Status
from sqlalchemy.exc import DBAPIError

from bench.ports import free_port
from service.data import migrations
from service.telemetry.testing import Recorded, record
from stack.backends import probe
from stack.layout import Layout
from stack.native.credentials import Credentials
from stack.native.postgres import Workshop, prepare_primary
from tests.unit.stack.test_supervisor_postgres import running

ROOT = Path(__file__).parents[4]
FOUND = probe("postgres")
pytestmark = [
    pytest.mark.anyio,
    pytest.mark.processes,
    pytest.mark.skipif(FOUND is None, reason="PostgreSQL is not on this machine"),
]
EXPAND = ["0001", "0002", "0003", "0004", "0005"]


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that PostgreSQL's own user can reach, which pytest's is not."""
    made = Path(tempfile.mkdtemp())
    made.chmod(0o711)
    yield made
    shutil.rmtree(made)


@pytest.fixture
async def database(folder: Path) -> AsyncIterator[str]:
    """Address of an empty database, for asyncpg itself."""
    layout = Layout(root=ROOT, state=folder / "state")
    layout.make()
    port = free_port()
    assert FOUND
    workshop = Workshop(
        layout, FOUND.executables, Credentials(layout.secrets), {"postgres": port}, layout.log("postgres")
    )
    ground = await prepare_primary(workshop)
    async with running(workshop, ground):
        address = f"postgresql://signalbox:{workshop.credentials['database_password']}@127.0.0.1:{port}/signalbox"
        for _ in range(200):
            with suppress(OSError, asyncpg.CannotConnectNowError):
                await (await asyncpg.connect(address)).close()
                break
            await asyncio.sleep(0.05)
        else:
            pytest.fail(workshop.log.read_text()[-2000:])
        yield address


def url(database: str) -> str:
    """As the service is told it."""
    return database.replace("postgresql://", "postgresql+asyncpg://")


def told(recorded: Recorded, event: str) -> list[dict[str, Any]]:
    return [line for line in recorded.lines() if line.get("event.name") == event]


async def test_every_version_is_told_once_and_so_is_what_was_in_its_way(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with record() as recorded:
        with recorded.telemetry.span("migrate"):
            await migrations.apply(url(database))
        lines, spans = told(recorded, "migration.applied"), recorded.spans()
        assert [line["migration.version"] for line in lines] == EXPAND
        assert {line["migration.retries"] for line in lines} == {0}
        assert all(line["migration.duration"] > 0 for line in lines)
        *applied, root = spans
        assert [recorded.attributes(span)["migration.version"] for span in applied] == EXPAND
        assert {span.parent_span_id for span in applied} == {root.span_id}
        assert [line["span_id"] for line in lines] == [span.span_id.hex() for span in applied]
        recorded.clear()
        await migrations.apply(url(database))
        assert (recorded.lines(), recorded.spans()) == ([], []), "there was nothing to do"

        monkeypatch.setattr(migrations, "LOCK_TIMEOUT", "50ms")
        monkeypatch.setattr(migrations, "PAUSE_S", 0.05)
        other = await asyncpg.connect(database)
        try:
            async with other.transaction():
                await other.execute("LOCK TABLE payments.charges")
                with monkeypatch.context() as patch:
                    patch.setattr(migrations, "ATTEMPTS", 2)
                    with pytest.raises(DBAPIError):
                        await migrations.apply(url(database), contract=True)
                assert recorded.span("migrations.apply").status.code == Status.STATUS_CODE_ERROR
                assert told(recorded, "migration.applied") == []
                recorded.clear()
                applying = asyncio.create_task(migrations.apply(url(database), contract=True))
                for _ in range(2000):
                    if len(told(recorded, "migration.delayed")) >= 2:
                        break
                    await asyncio.sleep(0.01)
            await asyncio.wait_for(applying, 20)
        finally:
            await other.close()
        delayed, (done,) = told(recorded, "migration.delayed"), told(recorded, "migration.applied")
        assert {(line["migration.version"], line["db.response.status_code"]) for line in delayed} == {("0006", "55P03")}
        assert (done["migration.version"], done["migration.retries"]) == ("0006", len(delayed))
        assert done["migration.duration"] >= 0.1, "waiting counts"


async def test_the_command_tells_on_stdout_and_a_collector_before_it_ends(database: str) -> None:
    received = bytearray()

    async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        received.extend(await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        writer.close()

    collector = await asyncio.start_server(receive, "127.0.0.1")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SIGNALBOX_")}
    ours = {
        "SIGNALBOX_DATABASE_URL": url(database),
        "SIGNALBOX_OTLP_URL": f"http://127.0.0.1:{collector.sockets[0].getsockname()[1]}",
    }
    async with collector:
        command = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "service", "migrate"),
            cwd=ROOT,
            env=kept | ours,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        said, complained = await asyncio.wait_for(command.communicate(), 60)
    assert (command.returncode, complained.decode()) == (0, "")
    *lines, sentence = said.decode().splitlines()
    assert sentence == "the schema is up to date"
    assert [json.loads(line)["migration.version"] for line in lines] == EXPAND
    assert {json.loads(line)["service.name"] for line in lines} == {"migrate"}
    resources = ExportTraceServiceRequest.FromString(bytes(received)).resource_spans
    spans = [span.name for resource in resources for scope in resource.scope_spans for span in scope.spans]
    assert spans == ["migrations.apply"] * len(EXPAND) + ["migrate"]
