"""Which reads a replica may answer, by what is known of it."""

from __future__ import annotations

import pytest

from service.data import replica as replica_module
from service.data.replica import MOST_LAG_S, Replica, Writes, look_at, own_writes
from service.telemetry.testing import record

pytestmark = pytest.mark.anyio


class Servers:
    """The two positions, and the time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.end, self.replayed, self.now = 100, 100, 50.0
        self.primary_answers = self.replica_answers = True
        monkeypatch.setattr(replica_module, "monotonic", lambda: self.now)
        self.replica = Replica("replica", self._replayed)

    async def _end(self) -> int:
        if not self.primary_answers:
            raise OSError
        return self.end

    async def _replayed(self) -> int:
        if not self.replica_answers:
            raise OSError
        return self.replayed

    async def pass_time(self, seconds: float, *, written: int = 0) -> str | None:
        for _ in range(round(seconds * 2)):
            self.now += 0.5
            self.end += written
            await look_at(self._end, [self.replica])
        return self.replica.refuses()


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> Servers:
    return Servers(monkeypatch)


async def test_a_replica_that_was_never_seen_gets_no_reads(servers: Servers) -> None:
    assert servers.replica.refuses() == "away"
    assert await servers.pass_time(0.5) is None


async def test_a_replica_that_stands_still_while_nothing_is_written_is_not_behind(servers: Servers) -> None:
    assert await servers.pass_time(60) is None


async def test_a_replica_that_falls_behind_gets_no_reads_until_it_has_caught_up(servers: Servers) -> None:
    await servers.pass_time(1)
    assert await servers.pass_time(MOST_LAG_S - 1, written=10) is None
    assert await servers.pass_time(2, written=10) == "lag"
    servers.replayed = servers.end - 10  # half a second behind
    assert await servers.pass_time(0.5, written=10) is None


async def test_without_its_primary_a_replica_goes_on_answering(servers: Servers) -> None:
    await servers.pass_time(1)
    servers.primary_answers = False
    assert await servers.pass_time(60) is None


async def test_a_replica_that_was_behind_and_has_all_that_is_known_of_is_asked_when_its_primary_is_gone(
    servers: Servers,
) -> None:
    await servers.pass_time(1)
    assert await servers.pass_time(MOST_LAG_S + 1, written=10) == "lag"
    servers.primary_answers = False
    assert await servers.pass_time(1) == "lag"
    servers.replayed = servers.end
    assert await servers.pass_time(0.5) is None


async def test_each_replica_is_judged_by_itself(servers: Servers) -> None:
    async def always_there() -> int:
        return servers.end

    with record() as recorded:
        well, behind = Replica("replica", always_there), Replica("replica-2", servers._replayed)
        for _ in range(14):
            servers.now, servers.end = servers.now + 0.5, servers.end + 10
            await look_at(servers._end, [well, behind])
        assert (well.refuses(), behind.refuses()) == (None, "lag")
        text = recorded.metrics_text()
    assert 'db_replica_lag_seconds{db_client_connection_pool_name="replica"} 0.0' in text
    assert 'db_replica_lag_seconds{db_client_connection_pool_name="replica-2"} 7.0' in text


async def test_a_replica_that_fails_gets_no_reads_until_it_was_seen_well(servers: Servers) -> None:
    await servers.pass_time(1)
    servers.replica.failed()
    assert servers.replica.refuses() == "away"
    servers.replica_answers = False
    assert await servers.pass_time(1) == "away"
    servers.replica_answers = True
    assert await servers.pass_time(0.5) is None


async def test_a_caller_is_not_answered_from_before_his_own_write(servers: Servers) -> None:
    await servers.pass_time(1)
    token = own_writes.set(Writes(position=150))
    try:
        assert servers.replica.refuses() == "own-write"
        servers.end = servers.replayed = 150
        assert await servers.pass_time(0.5) is None
        own_writes.set(Writes())
        assert servers.replica.refuses() is None
        own_writes.get().written = True  # type: ignore[union-attr]
        assert servers.replica.refuses() == "own-write"
    finally:
        own_writes.reset(token)
