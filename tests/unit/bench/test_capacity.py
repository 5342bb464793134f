"""The model of capacity: its arithmetic, and that its page is what the results yield."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from bench.capacity.model import STEPS, Measured, lines, load_of, peak_of_a_day, people_a_day
from bench.capacity.page import PAGE, RESULTS, build_page, read_measured

MEASURED, _ = read_measured()
LINES = {line.name: line for line in lines(MEASURED)}


def test_the_page_is_what_the_results_yield() -> None:
    assert PAGE.read_text() == build_page(), "run `make capacity`"


def test_people_become_requests_and_back() -> None:
    assert peak_of_a_day(1_000_000) == pytest.approx(2_000)  # 30 M requests, 12 % of them in an hour, twice its mean
    assert people_a_day(peak_of_a_day(12_345)) == pytest.approx(12_345)


def test_replicas_follow_the_cpu_of_a_request() -> None:
    measured = replace(MEASURED, api_ms=7.0)
    assert load_of(1_000, measured).replicas == 10
    assert load_of(1, measured).replicas == 2


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
def test_more_load_never_needs_less(line: object) -> None:
    needs = [line.need(load_of(peak, MEASURED)) for peak in sorted(STEPS.values())]  # type: ignore[attr-defined]
    assert needs == sorted(needs)


@pytest.mark.parametrize("name", [name for name, line in LINES.items() if line.most is not None])
def test_one_piece_bears_exactly_to_where_the_page_says(name: str) -> None:
    line = LINES[name]
    peak = line.peak_at_most(MEASURED) or 0
    assert line.need(load_of(peak, MEASURED)) <= (line.most or 0)
    assert line.need(load_of(peak * 1.05 + 100, MEASURED)) > (line.most or 0)


def test_connections_are_counted_as_the_scaling_policy_counts_them() -> None:
    connections = MEASURED.connections
    line = LINES["Connections to the primary"]
    peak = line.peak_at_most(MEASURED) or 0
    assert load_of(peak, MEASURED).replicas == connections.ceiling()


def test_every_part_that_the_run_measured_is_counted_with_a_request() -> None:
    knee = json.loads((RESULTS / "service.json").read_text())["knee"]
    at = [of["carried"] or of["beyond"] for of in knee]
    dearest = [
        max(of["cores"][part] / of["rate_per_s"] for of in at) for part in at[0]["cores"] if "driver" not in part
    ]
    assert len(dearest) == 8
    assert f"together {1 / sum(dearest):.0f} requests a second and core" in " ".join(PAGE.read_text().split())


@pytest.mark.parametrize("part", ["the gateway", "payments", "workers", "collectors"])
def test_what_is_replicated_at_will_has_its_cores_counted(part: str) -> None:
    line = LINES[f"CPU of {part}"]
    assert line.most is None
    assert line.need(load_of(2_000, MEASURED)) == pytest.approx(2 * line.need(load_of(1_000, MEASURED)))
    assert 0 < line.need(load_of(1_000, MEASURED)) < load_of(1_000, MEASURED).replicas


def test_traces_are_counted_as_they_were_kept_and_apart_from_that_as_they_could_be() -> None:
    peak = STEPS["1,000,000 a day"]
    kept, fewer = (LINES[f"Jaeger, {how}"].need(load_of(peak, MEASURED)) for how in ("all kept", "one in a hundred"))
    assert kept / LINES["Collector"].need(load_of(peak, MEASURED)) == pytest.approx(
        MEASURED.spans_kept / MEASURED.spans
    )
    assert fewer < kept
    assert MEASURED.spans_kept / MEASURED.spans > 0.99, "no longer all: the line's name is wrong"


def test_a_dearer_service_bears_fewer_people() -> None:
    dearer: Measured = replace(MEASURED, primary_ms=MEASURED.primary_ms * 2)
    line, same = (next(each for each in lines(m) if each.name == "CPU of the primary") for m in (dearer, MEASURED))
    assert (line.peak_at_most(dearer) or 0) == pytest.approx((same.peak_at_most(MEASURED) or 0) / 2, rel=0.01)
