"""The load: the same for the same seed, on time whatever the system does, and never without its owner."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from stand_in import StandIn

from incidents.drive import REQUEST_KINDS, Job, Step, drive, plan, quantile
from incidents.load import Load
from incidents.observe import poll

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parent.parent.parent.parent
MIX = {
    "browse_products": 3.0,
    "read_product": 3.0,
    "read_popular_product": 0.5,
    "read_hot_product": 0.5,
    "read_user": 1.0,
    "create_order": 2.0,
}


def job(url: str = "http://127.0.0.1:9", *steps: Step, seed: int = 1, max_s: float = 60.0) -> Job:
    return Job(url, MIX, steps or (Step(50),), seed, max_s)


def test_the_same_seed_plans_the_same_requests() -> None:
    assert list(plan(job(seed=3))) == list(plan(job(seed=3)))
    assert list(plan(job(seed=3))) != list(plan(job(seed=4)))


def test_rates_follow_the_steps_and_kinds_follow_the_mix() -> None:
    requests = list(plan(job("http://x", Step(20, 30), Step(200, 20), Step(20), max_s=100)))
    calm, busy, after = (
        sum(begin <= request.at_s < end for request in requests) / (end - begin)
        for begin, end in ((0, 30), (30, 50), (50, 100))
    )
    assert calm == pytest.approx(20, rel=0.2)
    assert busy == pytest.approx(200, rel=0.1)
    assert after == pytest.approx(20, rel=0.2)
    shares = Counter(request.route for request in requests)
    assert shares["GET /v1/products/{product_id}"] / len(requests) == pytest.approx(0.4, abs=0.03)
    assert [request.at_s for request in requests] == sorted(request.at_s for request in requests)


def test_requests_are_ones_that_the_service_takes() -> None:
    for request in plan(job(max_s=20)):
        if request.body is None:
            assert request.method == "GET"
            continue
        body = json.loads(request.body)
        assert 1 <= body["user_id"] <= 50_000
        products = [item["product_id"] for item in body["items"]]
        assert len(set(products)) == len(products) > 0
        assert all(10 < product <= 100_000 for product in products), "scarce products are left alone"


def test_no_plan_is_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("incidents.drive.MAX_REQUESTS", 1_000)
    assert sum(1 for _ in plan(job("http://x", Step(1e6), max_s=1e6))) == 1_000


def test_a_job_survives_its_way_to_the_child() -> None:
    original = job("http://x", Step(1, 2), Step(3))
    assert Job.parse(original.emit()) == original


def test_every_kind_of_request_belongs_to_the_mix() -> None:
    assert set(MIX) == set(REQUEST_KINDS)


@pytest.mark.parametrize(("values", "q", "expected"), [([], 0.5, None), ([7.0], 0.99, 7.0), ([1.0, 2, 3, 4], 0.5, 2.0)])
def test_quantiles_are_by_nearest_rank(values: list[float], q: float, expected: float | None) -> None:
    assert quantile(values, q) == expected


async def test_clients_see_what_the_system_answered(system: StandIn) -> None:
    system.faults["charge-errors"] = {}
    result = await drive(job(system.urls["gateway"], Step(100), max_s=1), asyncio.Event(), lambda _: None)

    assert result["sent"] == result["answered"] == system.requests > 50
    assert result["routes"]["POST /v1/orders"]["statuses"] == {"500": result["routes"]["POST /v1/orders"]["bad"]}
    assert sum(second["good"] + second["bad"] for second in result["seconds"]) == result["answered"]
    assert set(result["failing_trace_ids"]) == {"4bf92f3577b34da6a3ce929d0e0e4736"}
    json.dumps(result, allow_nan=False)


@pytest.mark.processes
async def test_latency_counts_from_when_a_request_was_meant_to_leave() -> None:
    """A server that answers one at a time, 50 ms each, is asked 60 times a second: the wait in the queue must show."""
    turn = asyncio.Semaphore(1)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            async with turn:
                await asyncio.sleep(0.05)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    browse_only = Job(f"http://127.0.0.1:{port}", {"read_product": 1.0}, (Step(60),), 1, 0.6)
    result = await drive(browse_only, asyncio.Event(), lambda _: None)
    server.close()

    seen = result["routes"]["GET /v1/products/{product_id}"]
    assert result["sent"] > 20, "arrivals did not wait for answers"
    assert seen["p99_ms"] > 400, "the queue did not show"
    assert result["send_lag_ms"]["p50"] < 50


async def test_a_system_that_is_gone_is_counted_as_bad_and_does_not_stop_the_load() -> None:
    result = await drive(job("http://127.0.0.1:9", Step(50), max_s=0.5), asyncio.Event(), lambda _: None)
    assert result["sent"] > 10
    assert all(set(route["statuses"]) == {"connect"} for route in result["routes"].values())


async def test_a_stop_ends_the_load_at_once(system: StandIn) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().call_later(0.3, stop.set)
    began = time.monotonic()
    result = await drive(job(system.urls["gateway"], Step(20), max_s=60), stop, lambda _: None)
    assert time.monotonic() - began < 3
    assert result["sent"] == result["answered"]


@pytest.mark.processes
async def test_the_child_reports_seconds_while_it_runs_and_ends_when_told(system: StandIn) -> None:
    load = Load(job(system.urls["gateway"], Step(30), max_s=60))
    assert await load.stop() is None, "a load that never started has no result"
    await load.start()

    async def look() -> bool:
        return bool(load.seconds)

    assert (await poll(look, bool, deadline_s=10))[0]
    result = await load.stop()
    assert result is not None
    assert result["sent"] == result["answered"] > 20
    assert load.seconds[0]["good"] > 0
    assert await load.stop() == result


OWNER = """
import asyncio, sys
from incidents.drive import Job, Step
from incidents.load import Load
from incidents.observe import poll
async def main():
    load = Load(Job(sys.argv[1], {"read_product": 1.0}, (Step(50.0),), 1, 60.0))
    await load.start()
    print(load._process.pid, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


def test_load_does_not_outlive_an_owner_that_is_killed_hard(system: StandIn) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, system.urls["gateway"]], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    child = int(owner.stdout.readline())
    ends = time.monotonic() + 10
    while system.requests == 0 and time.monotonic() < ends:
        time.sleep(0.02)
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    owner.stdout.close()
    ends = time.monotonic() + 10
    while _alive(child) and time.monotonic() < ends:
        time.sleep(0.05)
    assert system.requests > 0
    assert not _alive(child)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
