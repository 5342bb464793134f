"""PostgreSQL's data folders are made whole or not at all, and a finished one is kept. Real servers, small folders."""

import asyncio
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import asyncpg
import pytest

from stack.backends import probe
from stack.layout import Layout
from stack.native.credentials import Credentials
from stack.native.postgres import MADE_ANEW, Workshop, prepare_primary, prepare_replica
from stack.native.processes import start_child

FOUND = probe("postgres")
pytestmark = [pytest.mark.skipif(FOUND is None, reason="PostgreSQL is not on this machine"), pytest.mark.processes]


@pytest.fixture
def workshop() -> Iterator[Workshop]:
    """A state folder that PostgreSQL's own user can reach, which pytest's is not."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o711)
    layout = Layout(root=Path(__file__).parents[3], state=folder / "state")
    layout.make()
    with socket.socket() as one, socket.socket() as two:
        for free in (one, two):
            free.bind(("127.0.0.1", 0))
        ports = {"postgres": one.getsockname()[1], "postgres-replica": two.getsockname()[1]}
    assert FOUND
    yield Workshop(layout, FOUND.executables, Credentials(layout.secrets), ports, layout.log("postgres"))
    shutil.rmtree(folder)


@asynccontextmanager
async def running(workshop: Workshop, ground):
    server = await start_child(
        [str(ground.executables["postgres"]), "-D", str(ground.data)],
        env={"PATH": os.defpath, "LANG": "C.UTF-8"},
        cwd=ground.data,
        log=workshop.log,
        user=ground.user,
        death_signal=signal.SIGQUIT,
    )
    try:
        yield
    finally:
        await server.stop(signal.SIGINT, 20.0)


async def ask(workshop: Workshop, name: str, query: str, *, role: str = "signalbox", secret: str = "database_password"):
    """The query's value, once the server answers."""
    for _ in range(200):
        with suppress(OSError, asyncpg.CannotConnectNowError):
            connection = await asyncpg.connect(
                host="127.0.0.1",
                port=workshop.ports[name],
                user=role,
                password=workshop.credentials[secret],
                database="signalbox",
            )
            break
        await asyncio.sleep(0.05)
    else:
        pytest.fail(workshop.log.read_text()[-2000:])
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


def test_a_primary_is_made_once_kept_for_ever_and_followed_by_its_replica(workshop):
    data = workshop.layout.data / "postgres"
    interrupted = data.with_name("postgres.unfinished")
    interrupted.mkdir()
    (interrupted / "PG_VERSION").write_text("half of one")

    async def first_start() -> None:
        ground = await prepare_primary(workshop)
        assert not interrupted.exists()
        async with running(workshop, ground):
            assert (
                await ask(workshop, "postgres", "select rolsuper from pg_roles where rolname = current_user") is False
            )
            with pytest.raises(asyncpg.InvalidPasswordError):
                await ask(workshop, "postgres", "select 1", role="postgres", secret="database_password")
            await ask(workshop, "postgres", "create table kept as select 42 as answer")
            replica = await prepare_replica(workshop)
            async with running(workshop, replica):
                assert await ask(workshop, "postgres-replica", "select answer from kept") == 42
                assert await ask(workshop, "postgres-replica", "select pg_is_in_recovery()") is True

    async def second_start() -> None:
        (workshop.layout.secrets / "database_password").unlink()  # lost: the role gets the new one
        (data / "postmaster.pid").write_text("1\n")  # left by a crash, and the pid is somebody else's by now
        ground = await prepare_primary(workshop)
        async with running(workshop, ground):
            assert await ask(workshop, "postgres", "select answer from kept") == 42
            assert await ask(workshop, "postgres", "select ssl from pg_stat_ssl limit 1") is False
            (workshop.layout.data / "postgres-replica" / "standby.signal").unlink()  # somebody promoted it
            replica = await prepare_replica(workshop)
            assert f"{MADE_ANEW}: it was promoted" in workshop.log.read_text()
            async with running(workshop, replica):
                assert await ask(workshop, "postgres-replica", "select answer from kept") == 42

    asyncio.run(first_start())
    asyncio.run(second_start())
    for secret in workshop.layout.secrets.iterdir():
        assert secret.read_text().strip() not in workshop.log.read_text()
