"""A primary that cannot be reached is left alone, and callers are told at once and when to come again."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from sqlalchemy import text

from service.data.engines import Databases, DatabaseUnavailable, DatabaseUnreachable, build_engine
from service.outbound import LEAST_CALLS, OPEN_S
from service.telemetry.testing import Recorded

pytestmark = pytest.mark.anyio


@pytest.fixture
def nobody() -> Iterator[str]:
    """The address of a server that is not there: nobody else can take the port meanwhile, and nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"postgresql+asyncpg://nobody:x@127.0.0.1:{taken.getsockname()[1]}/none"


async def test_a_primary_that_cannot_be_reached_is_asked_no_more_for_a_while(recorded: Recorded, nobody: str) -> None:
    databases = Databases(build_engine(nobody, pool_size=2, application_name="test"))

    async def write() -> None:
        async with databases.transaction():
            raise AssertionError("there is no connection")

    for number in range(LEAST_CALLS):
        with pytest.raises(DatabaseUnreachable) as unreachable:
            await (write() if number % 2 else databases.read(text("SELECT 1")))
        assert unreachable.value.headers == {"Retry-After": "1"}
    with pytest.raises(DatabaseUnavailable) as refused:
        await databases.read(text("SELECT 1"))
    assert not isinstance(refused.value, DatabaseUnreachable)
    assert "was not asked" in str(refused.value)
    assert refused.value.headers == {"Retry-After": f"{OPEN_S:.0f}"}
    with pytest.raises(DatabaseUnavailable):
        await databases.ping_primary()
    await databases.dispose()
    told = recorded.metrics_text()
    assert 'circuit_state{peer="postgres"} 2.0' in told
    assert 'circuit_refused_total{peer="postgres"} 2.0' in told
