"""A handler that blocks the event loop, under a real server: who it was is told while it lasts and counted after."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Iterator

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from service.telemetry import stalls
from service.telemetry.instruments import Instruments
from service.telemetry.stalls import MAX_FRAMES, OTHER_FRAME, LoopWatch
from service.telemetry.testing import former_door
from tests.unit.service.telemetry.serving import Served

BLOCKED_S = 0.6


def work_too_long() -> None:
    time.sleep(BLOCKED_S)


async def block(request: Request) -> Response:
    work_too_long()
    return PlainTextResponse("")


async def wait(request: Request) -> Response:
    await asyncio.sleep(BLOCKED_S)
    return PlainTextResponse("")


SLEEPS_AT = inspect.getsourcelines(work_too_long)[1] + 1
FRAME = f"{__name__}:work_too_long:{SLEEPS_AT}"


@pytest.fixture
def served() -> Iterator[Served]:
    with former_door():
        made = Served(Starlette(routes=[Route("/block", block), Route("/wait", wait)]))
        yield made
        made.stop()


def stalled_seconds(served: Served) -> dict[str, float]:
    families = served.recorded.telemetry.instruments.loop_stalled.collect()
    samples = [sample for family in families for sample in family.samples if sample.name.endswith("_total")]
    return {sample.labels["code_frame"]: sample.value for sample in samples}


def test_the_frame_that_blocks_the_loop_is_named_with_its_request(served: Served) -> None:
    answer = served.http.get("/block")
    deadline = time.monotonic() + 5
    while not stalled_seconds(served) and time.monotonic() < deadline:
        time.sleep(0.02)
    seconds = stalled_seconds(served)
    assert set(seconds) == {FRAME}
    assert BLOCKED_S * 0.5 < seconds[FRAME] < BLOCKED_S + 2
    line = served.recorded.line(f"event loop blocked by {FRAME}")
    assert line["severity"] == "WARNING"
    assert (line["code.function.name"], line["code.line.number"]) == (f"{__name__}.work_too_long", SLEEPS_AT)
    assert line["trace_id"] == answer.headers["x-trace-id"]
    assert "block:" in line["code.stacktrace"].splitlines()[-2]
    (event,) = served.server_span().events
    assert event.name == "event_loop.blocked"
    exemplar = [text for text in served.recorded.metrics_text().splitlines() if "stalled_seconds_total{" in text]
    assert answer.headers["x-trace-id"] in exemplar[0]


def test_a_loop_that_waits_is_not_blocked(served: Served) -> None:
    served.http.get("/wait")
    assert stalled_seconds(served) == {}
    assert not [line for line in served.recorded.lines() if line["logger"] == "service.loop"]


def test_an_idle_loop_has_no_blocker(served: Served) -> None:
    httpx2.get(f"http://127.0.0.1:{served.address[1]}/wait", timeout=5)
    assert stalls.find_blocker(served.thread_id) is None


def test_frames_cannot_grow_the_number_of_series() -> None:
    watch = LoopWatch(Instruments(), 0.1)
    named = {watch._bounded(f"m:f:{number}") for number in range(1000)}
    assert len(named) == MAX_FRAMES + 1
    assert OTHER_FRAME in named
    assert watch._bounded("m:f:3") == "m:f:3"
