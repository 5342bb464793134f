"""What is loaded is what was captured, at the right place in time, and the requests are those that were served."""

from __future__ import annotations

import json
import struct
from collections import Counter
from typing import Any

import pytest

from incidents.bundle.form import Line, Manifest, Series
from incidents.drive import plan
from incidents.replay import logs, traces
from incidents.replay.placement import DAY_MS, NoPlace, Placement, candidates, choose
from incidents.replay.remote_write import STALE, encode_block, encode_number, encode_series
from incidents.replay.requests import NoRequests, build_job, observe_mix
from tests.unit.incidents.test_bundle import END_MS, START_MS, TOLD, TRACE

NOW_MS = END_MS + 600_000


def manifest(start_ms: int = START_MS, end_ms: int = END_MS) -> Manifest:
    return Manifest(
        format="signalbox-bundle", version=1, id="0" * 12, start_ms=start_ms, end_ms=end_ms, parts={}, **TOLD
    )


def unpack(block: bytes) -> bytes:
    """A Snappy block of literals, by the format's description."""
    size, at = varint(block, 0)
    out = bytearray()
    while at < len(block):
        tag = block[at]
        assert tag & 3 == 0
        length, at = tag >> 2, at + 1
        if length >= 60:
            width = length - 59
            length, at = int.from_bytes(block[at : at + width], "little"), at + width
        out += block[at : at + length + 1]
        at += length + 1
    assert len(out) == size
    return bytes(out)


def varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte, at = data[at], at + 1
        number |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return number, at


def fields(data: bytes) -> list[tuple[int, Any]]:
    """Protobuf: (number, value) of every field."""
    found, at = [], 0
    while at < len(data):
        key, at = varint(data, at)
        value: Any
        if key & 7 == 0:
            value, at = varint(data, at)
        elif key & 7 == 1:
            value, at = struct.unpack("<d", data[at : at + 8])[0], at + 8
        else:
            size, at = varint(data, at)
            value, at = data[at : at + size], at + size
        found.append((key >> 3, value))
    return found


def test_a_remote_write_request_holds_what_was_put_into_it() -> None:
    exemplars = [({"trace_id": "a" * 32}, START_MS, encode_number("0.5"))]
    one = encode_series({"job": "ü" * 200, "__name__": "up"}, [(START_MS, encode_number("1.5"))], exemplars)
    message = fields(unpack(encode_block([one] * 1_000)))
    assert len(message) == 1_000
    parts = fields(message[-1][1])
    labels = [tuple(value.decode() for _, value in fields(part)) for number, part in parts if number == 1]
    assert labels == [("__name__", "up"), ("job", "ü" * 200)]
    assert [fields(part) for number, part in parts if number == 2] == [[(1, 1.5), (2, START_MS)]]
    ((_, label), value, at) = fields(next(part for number, part in parts if number == 3))
    assert [text.decode() for _, text in fields(label)] == ["trace_id", "a" * 32]
    assert (value, at) == ((2, 0.5), (3, START_MS))


@pytest.mark.parametrize("text", ["NaN", "+Inf", "-Inf", "0", "1e-300", "1.7976931348623157e+308"])
def test_every_number_of_prometheus_survives(text: str) -> None:
    assert struct.unpack("<d", encode_number(text)) == pytest.approx((float(text),), nan_ok=True)


def test_the_stale_marker_is_prometheus_own() -> None:
    assert struct.pack("<d", struct.unpack("<d", STALE)[0]) == STALE
    assert STALE[::-1].hex() == "7ff0000000000002"


async def free(place: Placement) -> bool:
    return False


@pytest.mark.anyio
async def test_a_bundle_keeps_its_time_where_nothing_else_is() -> None:
    place = await choose(manifest(), None, NOW_MS, free)
    assert (place.shift_ms, place.label, place.trace_id("a" * 32)) == (0, "0" * 12, "a" * 32)


@pytest.mark.anyio
async def test_it_is_moved_by_the_fewest_days_that_are_free() -> None:
    async def taken(place: Placement) -> bool:
        return place.shift_ms > -2 * DAY_MS

    place = await choose(manifest(), None, NOW_MS, taken)
    assert place.shift_ms == -2 * DAY_MS
    assert place.label.startswith("000000000000@")
    assert place.trace_id("a" * 32) != "a" * 32


@pytest.mark.anyio
async def test_one_that_is_too_old_for_the_backends_is_moved_forward() -> None:
    shift = -100 * DAY_MS
    place = await choose(manifest(START_MS + shift, END_MS + shift), None, NOW_MS, free)
    assert place.shift_ms == 71 * DAY_MS
    assert place.start_ms >= NOW_MS - 30 * DAY_MS


def test_no_candidate_lies_in_the_future_or_before_what_backends_take() -> None:
    found = candidates(manifest(), NOW_MS)
    assert found[0] == 0
    assert all(END_MS + shift <= NOW_MS and START_MS + shift >= NOW_MS - 30 * DAY_MS for shift in found)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("at_ms", "why"),
    [(START_MS, "sums would mix"), (NOW_MS, "still to come"), (NOW_MS - 31 * DAY_MS, "no longer take")],
    ids=["mixes", "future", "too old"],
)
async def test_a_place_that_cannot_be_had_is_refused(at_ms: int, why: str) -> None:
    async def taken(place: Placement) -> bool:
        return True

    with pytest.raises(NoPlace, match=why):
        await choose(manifest(), at_ms, NOW_MS, taken)


@pytest.mark.anyio
async def test_without_any_free_place_it_says_so() -> None:
    async def taken(place: Placement) -> bool:
        return True

    with pytest.raises(NoPlace, match="Give --at TIME"):
        await choose(manifest(), None, NOW_MS, taken)


def test_moved_lines_and_traces_still_lead_to_each_other() -> None:
    place = Placement("0" * 12, START_MS - DAY_MS, END_MS - DAY_MS, -DAY_MS, {"a" * 32})
    line = Line(
        at_ns=START_MS * 10**6 + 7,
        labels={"x": "y"},
        metadata={"trace_id": "a" * 32},
        text=f"of {'a' * 32}, {'b' * 32}",
    )
    moved = logs.move(line, place)
    trace = traces.move(TRACE, place)
    assert moved.metadata["trace_id"] == trace.trace_id != "a" * 32
    assert moved.text == f"of {trace.trace_id}, {'b' * 32}"
    assert moved.at_ns == line.at_ns - DAY_MS * 10**6
    assert moved.labels == {"x": "y", "replay": place.label}
    (before,), (after,) = TRACE.spans(), trace.spans()
    assert int(before.startTimeUnixNano) - int(after.startTimeUnixNano) == DAY_MS * 10**6
    assert after.spanId == before.spanId


def counter(route: str, values: list[int], **labels: str) -> Series:
    name = "http_server_request_duration_seconds_count"
    method, path = route.split()
    return Series(
        labels={"__name__": name, "http_request_method": method, "http_route": path, **labels},
        times_ms=[START_MS + 1_000 * n for n in range(len(values))],
        values=[str(value) for value in values],
    )


class Lokis:
    """A receiver, and a source whose first answers leave out some of the lines that it has."""

    def __init__(self, has: list[Line], first_answers: list[list[Line]]) -> None:
        self.has = has
        self.answers = [*first_answers]
        self.pushed: list[str] = []

    async def get(self, path: str, asked: dict[str, Any], headers: dict[str, str] | None = None) -> dict[str, Any]:
        shown = self.answers.pop(0) if self.answers else self.has
        result = [
            {"stream": line.labels, "values": [[str(line.at_ns), line.text, {"structuredMetadata": line.metadata}]]}
            for line in shown
        ]
        return {"data": {"resultType": "streams", "result": result}}

    async def post(self, path: str, body: bytes, headers: dict[str, str]) -> None:
        self.pushed += [text for stream in json.loads(body)["streams"] for _, text, _ in stream["values"]]


@pytest.mark.anyio
async def test_lines_that_loki_leaves_out_of_an_answer_are_not_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "LOOK_AGAIN_S", 0.0)
    place = Placement("0" * 12, START_MS, END_MS)
    lines = [
        Line(at_ns=START_MS * 1_000_000 + n, labels={"app": "shop"}, metadata={"trace_id": "a" * 32}, text=f"line {n}")
        for n in range(4)
    ]
    moved = [logs.move(line, place) for line in lines]

    async def load(loki: Lokis) -> list[str]:
        async for _ in logs.load_lines(iter(lines), len(lines), place, loki, loki):  # type: ignore[arg-type]
            pass
        return loki.pushed

    assert await load(Lokis([], [])) == [line.text for line in lines]
    assert await load(Lokis(moved, [moved[1:]])) == []
    assert await load(Lokis(moved, [moved[1:], moved[:1]])) == [], "what was shown once is there"
    assert await load(Lokis(moved[1:], [])) == ["line 0"], "and what is not there is sent"


def test_the_mix_is_what_the_counters_grew_by() -> None:
    """Two replicas, one of which starts anew; a route that is not offered here; six seconds, so two bins."""
    mix = observe_mix(
        [
            counter("GET /v1/products", [10, 11, 12, 13, 14, 20, 30], instance="a"),
            counter("GET /v1/products", [5, 5, 5, 1, 2, 2, 2], instance="b"),
            counter("POST /v1/orders", [0, 0, 0, 0, 3, 3, 3]),
            counter("POST /v1/charges", [0, 4, 4, 4, 4, 4, 4]),
        ],
        START_MS,
        START_MS + 9_999,
    )
    assert mix.bins == [Counter(browse_products=4 + 2, create_order=3), Counter(browse_products=16)]
    assert mix.unknown == {"POST /v1/charges": 4}


def test_the_job_has_the_rates_of_the_mix_and_plans_as_many_requests() -> None:
    mix = observe_mix([counter("GET /v1/products", [0, 0, 0, 0, 500, 500, 2_500])], START_MS, START_MS + 14_999)
    job = build_job(mix, "http://127.0.0.1:1", "", 2.0, seed=1)
    assert [(round(step.rate_per_s), step.for_s) for step in job.steps] == [(200, 2.5), (800, 2.5), (0, 2.5)]
    seconds = Counter(int(request.at_s // 2.5) for request in plan(job))
    assert seconds[0] == pytest.approx(500, rel=0.2)
    assert seconds[1] == pytest.approx(2_000, rel=0.1)
    assert seconds[2] == 0


def test_the_mix_may_change_from_step_to_step() -> None:
    mix = observe_mix(
        [counter("GET /v1/products", [0, 50, 50, 50, 50, 50, 50]), counter("POST /v1/orders", [0, 0, 0, 0, 0, 0, 50])],
        START_MS,
        START_MS + 9_999,
    )
    job = build_job(mix, "http://127.0.0.1:1", "", 1.0, seed=1)
    routes = {(request.at_s >= 5, request.route) for request in plan(job)}
    assert routes == {(False, "GET /v1/products"), (True, "POST /v1/orders")}


def test_a_bundle_without_requests_for_us_says_what_it_found() -> None:
    with pytest.raises(NoRequests, match="POST /v1/charges"):
        observe_mix([counter("POST /v1/charges", [0, 4])], START_MS, END_MS)
    with pytest.raises(NoRequests, match="no counter"):
        observe_mix([], START_MS, END_MS)


def test_more_than_the_generator_sends_is_refused() -> None:
    mix = observe_mix([counter("GET /v1/products", [0, 10**6])], START_MS, START_MS + 4_999)
    with pytest.raises(NoRequests, match="a second are more than"):
        build_job(mix, "http://127.0.0.1:1", "", 1.0, seed=1)
