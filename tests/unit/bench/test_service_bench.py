"""What the bench of the service counts: when requests are due, where the knee is, what is full, when spikes end."""

from __future__ import annotations

import asyncio
import json
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from bench.service import cases, pools, spike
from bench.service.knee import FIRST_RATE, LEAST_RATE, STEP, first_full, judge_knee, measured, next_rate, too_much
from bench.service.load import TIMEOUT_S, Asked, Outcome, arrivals, drive
from bench.service.people import Person


def outcome(*waits_s: float, failed: int = 0, every_s: float = 1.0) -> Outcome:
    asked = [Asked(number * every_s, wait_s) for number, wait_s in enumerate(waits_s)]
    return Outcome(asked + [Asked(0.0, TIMEOUT_S, "503")] * failed)


def test_arrivals_keep_their_legs_rates_and_order() -> None:
    due = list(arrivals(random.Random(1), [(100, 20), (1000, 10), (100, 20)]))
    assert due == sorted(due)
    for start, end, rate in ((0, 20, 100), (20, 30, 1000), (30, 50, 100)):
        counted = sum(start <= at < end for at in due)
        assert counted == pytest.approx(rate * (end - start), rel=0.1)
    assert due == list(arrivals(random.Random(1), [(100, 20), (1000, 10), (100, 20)]))


def test_what_failed_counts_as_having_waited_for_the_time_out() -> None:
    seen = outcome(*[0.01] * 90, failed=10)
    assert (seen.sent, dict(seen.failed)) == (100, {"503": 10})
    assert seen.quantile_ms(0.5) == 10
    assert seen.quantile_ms(0.95) == TIMEOUT_S * 1000
    assert Outcome().quantile_ms(0.95) == 0


def test_too_much_is_one_failure_in_a_thousand_or_a_slow_twentieth() -> None:
    assert too_much(outcome(*[0.01] * 1999, failed=1)) == ""
    assert too_much(outcome(*[0.01] * 1997, failed=3)) == "3 of 2000 failed"
    assert too_much(outcome(*[0.01] * 90, *[0.3] * 10)) == "p95 is 300 ms"


@pytest.mark.parametrize("true_knee", [3, 37, 51, 380, 5000])
def test_the_search_ends_close_below_the_knee(true_knee: float) -> None:
    tried: dict[float, bool] = {}
    while (rate := next_rate(tried, fineness=1.1)) is not None:
        tried[rate] = rate <= true_knee
        assert len(tried) < 30
    best = max(rate for rate, carried in tried.items() if carried)
    assert true_knee / 1.1 < best <= true_knee


def test_the_search_gives_up_where_nothing_is_carried() -> None:
    tried: dict[float, bool] = {}
    while (rate := next_rate(tried, fineness=1.1)) is not None:
        tried[rate] = False
    assert LEAST_RATE <= min(tried) < LEAST_RATE * STEP
    assert max(tried) == FIRST_RATE


def point(rate: float, why: str = "", busy: float = 0.5, **cores: float) -> dict[str, Any]:
    figures = measured(rate, outcome(0.01), cores or {"servers": 0.5, "gateway": 0.1, "the load driver": 0.4})
    return {**figures, "pools": {}, "machine_busy": busy, "why": why}


def test_a_knee_is_between_the_last_rate_that_was_carried_and_the_next() -> None:
    tried = {50.0: point(50), 70.0: point(70), 98.0: point(98, "p95 is 900 ms"), 83.0: point(83, "9 of 83 failed")}
    found = judge_knee(tried, 1, 2)
    assert (found["carried"]["rate_per_s"], found["beyond"]["rate_per_s"]) == (70, 83)
    assert found["requests_per_core_s"] == pytest.approx(70 / 0.6, abs=0.1), "the load driver is not what carries"
    assert [at["rate_per_s"] for at in found["points"]] == [50, 70, 83, 98]


def test_a_knee_where_nothing_is_carried_has_no_rate() -> None:
    found = judge_knee({50.0: point(50, "p95 is 900 ms"), 36.0: point(36, "p95 is 800 ms")}, 1, 2)
    assert found["carried"] is None
    assert found["beyond"]["rate_per_s"] == 36


@pytest.mark.parametrize(
    ("cores", "replicas", "busy", "said"),
    [
        ({"servers": 0.95, "gateway": 0.4}, 1, 0.7, "the service: 95%"),
        ({"servers": 1.0, "valkey": 0.92}, 4, 0.7, "valkey: 92%"),
        ({"servers": 1.0, "gateway": 1.9}, 4, 0.7, "gateway: 95%"),  # of two cores
        (
            {"servers": 0.9, "gateway": 0.6},
            2,
            0.97,
            "the machine: 97% of 2 cores are busy (most of it: the service 0.90,",
        ),
        ({"servers": 0.5}, 1, 0.9, "the machine: 90% of 2 cores are busy (most of it: what else runs here 1.30,"),
        ({"servers": 0.98, "gateway": 0.6}, 1, 0.97, "the service: 98%"),
    ],
)
def test_what_is_full_first_is_told_by_what_each_part_can_use(
    cores: dict[str, float], replicas: int, busy: float, said: str
) -> None:
    figures = {"cores": cores, "pools": {}, "machine_busy": busy, "why": "p95 is 300 ms"}
    assert first_full(figures, replicas, machine_cores=2).startswith(said)


@pytest.mark.parametrize(
    ("cores", "busy", "why", "said"),
    [
        (
            {"servers": 0.5, "gateway": 0.4},
            0.85,
            "p95 is 263 ms",
            "nothing was full, yet p95 is 263 ms; fullest: the machine: 85%",
        ),
        ({"servers": 0.89}, 0.7, "3 of 90 failed", "nothing was full, yet 3 of 90 failed; fullest: the service: 89%"),
        ({"servers": 0.6}, 0.5, "", "nothing was full; fullest: the service: 60%"),  # nothing beyond was tried
    ],
)
def test_where_nothing_is_full_nothing_is_said_to_be(cores: dict[str, float], busy: float, why: str, said: str) -> None:
    figures = {"cores": cores, "pools": {}, "machine_busy": busy, "why": why}
    assert first_full(figures, 1, machine_cores=2).startswith(said)


@pytest.mark.parametrize(
    ("cores", "busy", "waiting", "said"),
    [
        (0.6, 0.5, 4.2, ["the pool of the primary: 4.2 wait for one of 10 connections", "the service: 60%"]),
        (0.6, 0.5, 0.4, ["nothing was full, yet p95 is 300 ms", "fullest: the service: 60% of all that it can use"]),
        (0.95, 0.7, 4.2, ["the service: 95% of all that it can use", "the pool of the primary: 4.2 wait"]),
        (0.6, 0.97, 4.2, ["the machine: 97% of 2 cores are busy", "the pool of the primary: 4.2 wait"]),
    ],
)
def test_a_full_pool_is_named_though_it_uses_no_cpu(cores: float, busy: float, waiting: float, said: list[str]) -> None:
    waits = {"primary": {"wait_ms": 50.0, "waiting": waiting, "most": 10}}
    figures = {"cores": {"servers": cores}, "pools": waits, "machine_busy": busy, "why": "p95 is 300 ms"}
    told = first_full(figures, 1, 2).split("; ")
    assert len(told) == len(said)
    assert all(one.startswith(wanted) for one, wanted in zip(told, said, strict=True))


def page(waited_s: float, waits: int) -> str:
    label = f'{{{pools.POOL}="primary"}}'
    return (
        f'# TYPE {pools.WAIT} histogram\n{pools.WAIT}_bucket{{{pools.POOL}="primary",le="+Inf"}} {waits}\n'
        f"{pools.WAIT}_sum{label} {waited_s}\n{pools.WAIT}_count{label} {waits}\n"
        f"# TYPE {pools.MOST} gauge\n{pools.MOST}{label} 10\n"
    )


def test_waits_for_connections_are_read_from_all_replicas() -> None:
    before, after = pools.read([page(1, 100), page(0, 0)]), pools.read([page(4, 200), page(3, 200)])
    assert pools.between(before, after, took_s=2.0) == {"primary": {"wait_ms": 20.0, "waiting": 3.0, "most": 20}}
    assert pools.between({}, {"primary": pools.Pool(0, 0, 10)}, 2.0)["primary"]["wait_ms"] == 0


def test_the_spike_reaches_the_services_knee_and_is_tenfold_at_least() -> None:
    assert spike.rates(400, 100) == (40, 400)
    usual, peak = spike.rates(400, 20)
    assert (usual, peak) == (16, 400)


def through_a_spike(after_s: float) -> dict[str, Any]:
    """Before 4 s, spike 6 s, after 10 s; slow from the fourth second until ``after_s`` seconds after the spike."""
    asked = [Asked(at / 20, 1.5 if 5 <= at / 20 < 10 + after_s else 0.02) for at in range(20 * 20)]
    return spike.judge(Outcome(asked), [(20, 4), (20, 6), (20, 10)])


@pytest.mark.parametrize(("after_s", "over"), [(-5, 0), (0, 0), (3, 3), (10, None)])
def test_a_spike_is_over_when_it_is_felt_no_more(after_s: float, over: float | None) -> None:
    assert through_a_spike(after_s)["recovered_after_s"] == over


def test_the_three_legs_of_a_spike_are_told_apart() -> None:
    seen = through_a_spike(0)
    assert [seen[leg]["sent"] for leg in ("before", "spike", "after")] == [80, 120, 200]
    assert [seen[leg]["p95_ms"] for leg in ("before", "spike", "after")] == [20, 1500, 20]
    assert [at["second"] for at in seen["seconds"]] == list(range(20))
    assert sum(at["sent"] for at in seen["seconds"]) == 400


def turn(p95_ms: float, server_ms: float, all_ms: float) -> dict[str, Any]:
    parts = {"servers": server_ms, "gateway": all_ms - server_ms}
    return {"p95_ms": p95_ms, "server_ms": server_ms, "all_ms": all_ms, "parts_ms": parts, "failed": 1, "sent": 100}


def test_ratios_are_of_the_same_round() -> None:
    plain, ours = [turn(100, 10, 20), turn(300, 30, 60)], [turn(20, 5, 15), turn(60, 15, 45)]
    found = cases.against(ours, plain)
    assert found["against_plain"] == {"p95": 0.2, "server_cpu": 0.5, "all_cpu": 0.75}
    assert (found["p95_ms"], found["failed"], found["sent"]) == (40, 2, 200)
    assert found["cpu_s_per_1000_by_part"] == {"servers": 10, "gateway": 20}


@pytest.mark.parametrize(("p95", "cost", "failed", "held"), [(0.1, 0.3, 0, True), (0.25, 0.7, 1, False)])
def test_a_claim_holds_when_it_is_reached(p95: float, cost: float, failed: int, held: bool) -> None:
    compared = {"service": {"against_plain": {"p95": p95, "all_cpu": cost}}}
    found = cases.claims(compared, {"service": {"failed": failed}})
    assert [of["held"] for of in found.values()] == [held] * 3


def test_the_picture_shows_all_of_it_and_is_the_same_each_time(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="make bench-service installs it")
    from bench.service.plot import plot

    compared = {
        name: cases.against([turn(p95_ms, 5, 10)], [turn(100, 10, 20)])
        for name, p95_ms in (("plain", 100.0), ("plain + cache", 90.0), ("service", 10.0))
    }
    deployed = {"plain": {"failed": 21}, "service": {"failed": 0}}
    judged = judge_knee({50.0: point(50), 70.0: point(70, "p95 is 900 ms")}, 1, 2)
    document = {
        "compare": compared,
        "deploy": deployed,
        "claims": cases.claims(compared, deployed),
        "most_p95_ms": 250,
        "knee": [{**judged, "replicas": replicas} for replicas in (1, 2, 4)],
        "plain_knee": judged,
        "spike": {
            "usual_per_s": 5,
            "peak_per_s": 50,
            "legs_s": [4, 6, 10],
            "variants": {"plain": through_a_spike(10), "service": through_a_spike(0)},
        },
    }
    plot(document, tmp_path / "once.svg")
    plot(document, tmp_path / "twice.svg")
    drawn = (tmp_path / "once.svg").read_text()
    assert drawn == (tmp_path / "twice.svg").read_text()
    for said in (
        "21 requests",
        "+ cache",
        "4 × service: carries 50/s",
        "1 × plain",
        "not over at the end",
        "over after 0 s",
    ):
        assert said in drawn, said
    plot({"compare": compared}, tmp_path / "part.svg")
    assert "spike: not measured" in (tmp_path / "part.svg").read_text()


@contextmanager
def shop(seen: list[tuple[str, str, str, Any]]) -> Iterator[str]:
    """Answers everything but accounts, of which it knows none."""

    class Shop(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))) or "null")
            seen.append((self.command, self.path, self.headers["authorization"], body))
            said = json.dumps({"id": f"order-of-{body['user_id']}"} if body else {}).encode()
            self.send_response(404 if "/users/" in self.path else 200)
            self.send_header("content-length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Shop)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.mark.processes
def test_everybody_asks_for_his_own_with_his_own_token() -> None:
    people, seen = [Person(number, f"token-{number}") for number in range(1, 5)], []
    with shop(seen) as url:
        came = asyncio.run(drive(url, people, 1, (100.0, 2.0)))
    assert came.sent == len(seen) > 120
    assert set(came.failed) == {"404"}
    assert came.failed["404"] == sum("/users/" in path for _, path, *_ in seen)
    for _, path, token, body in seen:
        user = token.removeprefix("Bearer token-")
        if "/users/" in path:
            assert path == f"/v1/users/{user}"
        if body:
            assert body["user_id"] == int(user)
        if path.startswith("/v1/orders/"):
            assert path == f"/v1/orders/order-of-{user}"
    assert {token for _, _, token, _ in seen} == {f"Bearer token-{number}" for number in range(1, 5)}
    assert any(path.startswith("/v1/orders/") for _, path, *_ in seen)
