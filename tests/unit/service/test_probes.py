"""The three probes tell apart: alive, started, ready, draining."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from service import health as health_module
from service.health import Health, build_router
from service.telemetry.testing import Recorded, record

pytestmark = pytest.mark.anyio


async def probe(health: Health, path: str) -> tuple[int, dict[str, Any]]:
    app = FastAPI()
    app.include_router(build_router(health))
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://service") as client:
        answer = await client.get(path)
    return answer.status_code, answer.json()


async def answers() -> None:
    return None


async def fails() -> None:
    raise ConnectionRefusedError("postgresql://user:hunter2@db refused")


async def hangs() -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("started", "draining", "livez", "startupz", "readyz"),
    [
        (False, False, 200, 503, (503, "starting")),
        (True, False, 200, 200, (200, "ok")),
        (True, True, 200, 200, (503, "draining")),
    ],
)
async def test_probes_follow_the_life_of_the_process(
    started: bool, draining: bool, livez: int, startupz: int, readyz: tuple[int, str]
) -> None:
    health = Health()
    health.register("postgres", answers)
    health.started = started
    if draining:
        health.begin_draining()
    assert (await probe(health, "/livez"))[0] == livez
    assert (await probe(health, "/startupz"))[0] == startupz
    status, report = await probe(health, "/readyz")
    assert (status, report["status"]) == readyz


async def test_readiness_names_the_pings_that_fail_and_no_secret() -> None:
    health = Health()
    health.started = True
    health.register("postgres", fails)
    health.register("queue", answers)
    assert await probe(health, "/readyz") == (
        503,
        {"status": "failing", "failing": {"postgres": "ConnectionRefusedError"}},
    )


async def test_a_ping_that_hangs_fails_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_module, "PING_TIMEOUT_S", 0.05)
    health = Health()
    health.started = True
    health.register("postgres", hangs)
    health.register("valkey", hangs)
    status, report = await asyncio.wait_for(probe(health, "/readyz"), 5)
    assert (status, report["failing"]) == (
        503,
        {"postgres": "no answer within 0.05 s", "valkey": "no answer within 0.05 s"},
    )


def told(recorded: Recorded) -> list[tuple[str, list[str] | None]]:
    """The events that are lines, and what fails in each."""
    return [(line["event.name"], line.get("readiness.failing")) for line in recorded.lines() if "event.name" in line]


async def test_a_change_of_readiness_is_told_once_with_names_and_no_secret() -> None:
    answer = {"postgres": answers, "queue": answers}
    with record() as recorded:
        health = Health()
        for name in answer:
            health.register(name, lambda name=name: answer[name]())

        async def probe_twice() -> float | None:
            for _ in range(2):
                await probe(health, "/readyz")
            return recorded.telemetry.instruments.registry.get_sample_value("signalbox_ready")

        assert await probe_twice() == 0, "it has not started"
        assert told(recorded) == []
        health.started = True
        assert await probe_twice() == 1
        answer["queue"] = fails
        assert await probe_twice() == 0
        answer["postgres"] = fails
        assert await probe_twice() == 0
        answer.update(postgres=answers, queue=answers)
        assert await probe_twice() == 1
        health.begin_draining()
        assert recorded.telemetry.instruments.registry.get_sample_value("signalbox_ready") == 0, "before it is asked"
        assert await probe_twice() == 0
        assert told(recorded) == [
            ("readiness.changed", []),
            ("readiness.changed", ["queue"]),
            ("readiness.changed", ["postgres", "queue"]),
            ("readiness.changed", []),
            ("process.draining", None),
        ]
        assert "hunter2" not in recorded.everything()


async def test_a_probe_that_began_before_the_process_was_told_to_leave_does_not_make_it_ready_again() -> None:
    with record() as recorded:
        health = Health()
        health.started = True

        async def leaves() -> None:
            health.begin_draining()

        health.register("postgres", leaves)
        await probe(health, "/readyz")
        assert recorded.telemetry.instruments.registry.get_sample_value("signalbox_ready") == 0
        assert told(recorded) == [("process.draining", None)]


async def test_a_name_is_pinged_once() -> None:
    health = Health()
    health.register("postgres", answers)
    with pytest.raises(ValueError, match="postgres"):
        health.register("postgres", answers)


async def test_draining_tells_who_wants_to_know() -> None:
    health, told = Health(), []
    health.on_drain(lambda: told.append(health.draining))
    health.begin_draining()
    assert told == [True]


async def test_warming_up_asks_every_ping_and_is_kept_up_by_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_module, "WARM_UP_TIMEOUT_S", 0.05)
    asked: list[str] = []

    async def notes() -> None:
        asked.append("postgres")

    health = Health()
    for name, ping in (("postgres", notes), ("one that refuses", fails), ("one that hangs", hangs)):
        health.register(name, ping)
    await health.warm_up()
    assert asked == ["postgres"]
    assert not health.started
