"""Faults strike as often as they are told, whom they are told, and never outside development."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import httpx2
import pytest
from fastapi import Depends, FastAPI
from pydantic import ValidationError

from service.errors import NotFound, install_error_handlers
from service.faults import (
    API_FAULTS,
    JOB_ERRORS,
    RESPONSE_ERRORS,
    RESPONSE_LATENCY,
    SCOPE_HEADER,
    UNREADABLE_JOBS,
    WORKER_FAULTS,
    DefectiveReleaseError,
    Faults,
    InjectedError,
    build_router,
    scope_headers,
)
from service.telemetry.testing import Recorded

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def a_client(faults: Faults) -> AsyncIterator[httpx2.AsyncClient]:
    app = FastAPI()
    install_error_handlers(app)

    @app.get("/v1/things/{thing}", dependencies=[Depends(faults.disturb_response)])
    async def read_thing(thing: str) -> dict[str, str]:
        return {"thing": thing, **scope_headers()}

    @app.get("/v1/others", dependencies=[Depends(faults.disturb_response)])
    async def read_others() -> dict[str, str]:
        return {}

    app.include_router(build_router(faults))
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://service") as client:
        yield client


def strikes(seed: int, percent: float, occasions: int = 1000) -> list[bool]:
    faults = Faults(API_FAULTS, allowed=True, seed=seed)
    faults.switch_on("response-errors", {"percent": percent})
    return [faults.strike(RESPONSE_ERRORS) is not None for _ in range(occasions)]


@pytest.mark.parametrize("percent", [0, 1, 20, 100])
def test_a_fault_strikes_the_percentage_it_was_told(percent: float) -> None:
    assert sum(strikes(seed=1, percent=percent)) / 10 == pytest.approx(percent, abs=3 if 0 < percent < 100 else 0)


def test_the_same_seed_strikes_the_same_occasions() -> None:
    assert strikes(seed=7, percent=30) == strikes(seed=7, percent=30) != strikes(seed=8, percent=30)


def test_a_fault_that_is_off_does_not_strike() -> None:
    faults = Faults(API_FAULTS, allowed=True)
    assert faults.strike(RESPONSE_ERRORS) is None
    faults.switch_on("response-errors", {})
    assert faults.strike(RESPONSE_ERRORS) is not None
    faults.switch_off("response-errors")
    assert faults.strike(RESPONSE_ERRORS) is None


@pytest.mark.parametrize(
    "parameters",
    [{"percent": 101}, {"percent": -1}, {"status": 200}, {"status": 600}, {"unknown": 1}, {"scope": "a b"}],
)
def test_parameters_that_make_no_sense_are_refused(parameters: dict[str, Any]) -> None:
    faults = Faults(API_FAULTS, allowed=True)
    with pytest.raises(ValidationError):
        faults.switch_on("response-errors", parameters)
    assert faults.strike(RESPONSE_ERRORS) is None


def test_a_process_has_no_faults_but_its_own() -> None:
    faults = Faults(WORKER_FAULTS, allowed=True)
    with pytest.raises(NotFound, match="job-errors"):
        faults.switch_on("response-errors", {})


async def test_a_route_can_be_disturbed_alone() -> None:
    faults = Faults(API_FAULTS, allowed=True)
    async with a_client(faults) as client:
        await client.put("/internal/faults/response-errors", json={"status": 502, "route": "/v1/things/{thing}"})
        answer = await client.get("/v1/things/1")
        assert (answer.status_code, answer.headers["content-type"]) == (502, "application/problem+json")
        assert (await client.get("/v1/others")).status_code == 200


async def test_a_caller_can_be_disturbed_alone_and_its_scope_travels_on() -> None:
    faults = Faults(API_FAULTS, allowed=True)
    faults.switch_on("response-errors", {"scope": "drill-1"})
    async with a_client(faults) as client:
        assert (await client.get("/v1/things/1")).json() == {"thing": "1"}
        other = await client.get("/v1/things/1", headers={SCOPE_HEADER: "drill-2"})
        assert other.json() == {"thing": "1", SCOPE_HEADER: "drill-2"}
        assert (await client.get("/v1/things/1", headers={SCOPE_HEADER: "drill-1"})).status_code == 500


async def test_a_scope_that_no_header_could_carry_is_dropped() -> None:
    async with a_client(Faults(API_FAULTS, allowed=True)) as client:
        answer = await client.get("/v1/things/1", headers={SCOPE_HEADER: "ä b".encode()})
        assert answer.json() == {"thing": "1"}


async def test_latency_delays_and_then_answers() -> None:
    faults = Faults(API_FAULTS, allowed=True)
    async with a_client(faults) as client:
        await client.put("/internal/faults/response-latency", json={"ms": 120})
        answer = await client.get("/v1/things/1")
    assert answer.status_code == 200
    assert answer.elapsed.total_seconds() >= 0.12


async def test_a_job_can_be_made_to_fail_for_one_scope() -> None:
    faults = Faults(WORKER_FAULTS, allowed=True)
    faults.switch_on(JOB_ERRORS.name, {"scope": "drill-1"})
    await faults.disturb_job(None)
    await faults.disturb_job("drill-2")
    with pytest.raises(InjectedError):
        await faults.disturb_job("drill-1")


async def test_faults_are_listed_switched_and_cleared_over_http() -> None:
    async with a_client(Faults((RESPONSE_ERRORS, RESPONSE_LATENCY), allowed=True)) as client:
        listed = (await client.get("/internal/faults")).json()["faults"]
        assert [(fault["name"], fault["active"], fault["parameters"]) for fault in listed] == [
            ("response-errors", False, {}),
            ("response-latency", False, {}),
        ]
        assert all(fault["description"] for fault in listed)
        await client.put("/internal/faults/response-errors", json={"percent": 5})
        await client.put("/internal/faults/response-latency", json={"percent": 5, "ms": 10})
        active = (await client.get("/internal/faults")).json()["faults"]
        assert [fault["parameters"] for fault in active] == [{"percent": 5, "status": 500}, {"percent": 5, "ms": 10}]
        one_off = (await client.delete("/internal/faults/response-errors")).json()["faults"]
        assert [fault["active"] for fault in one_off] == [False, True]
        all_off = (await client.delete("/internal/faults")).json()["faults"]
        assert not any(fault["active"] for fault in all_off)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("PUT", "/internal/faults/response-errors", {"percent": 200}, 422),
        ("PUT", "/internal/faults/response-errors", [], 422),
        ("PUT", "/internal/faults/unknown", {}, 404),
        ("DELETE", "/internal/faults/unknown", None, 404),
    ],
)
async def test_wrong_use_over_http_is_a_problem(method: str, path: str, body: Any, status: int) -> None:
    async with a_client(Faults(API_FAULTS, allowed=True)) as client:
        answer = await client.request(method, path, json=body)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/internal/faults"),
        ("PUT", "/internal/faults/response-errors"),
        ("DELETE", "/internal/faults/response-errors"),
        ("DELETE", "/internal/faults"),
    ],
)
async def test_outside_development_everything_is_refused(method: str, path: str) -> None:
    async with a_client(Faults(API_FAULTS, allowed=False)) as client:
        answer = await client.request(method, path)
        assert (answer.status_code, answer.json()["type"]) == (403, "urn:signalbox:problem:forbidden")
        assert (await client.get("/v1/things/1")).status_code == 200


async def test_every_change_is_an_event_and_moves_the_gauge(recorded: Recorded) -> None:
    faults = Faults(API_FAULTS, allowed=True)

    def gauge() -> str:
        wanted = 'signalbox_fault_active{fault="response-errors"}'
        return next(line for line in recorded.metrics_text().splitlines() if line.startswith(wanted)).split()[1]

    assert gauge() == "0.0"
    faults.switch_on("response-errors", {"percent": 20, "status": 503})
    assert gauge() == "1.0"
    faults.switch_all_off()
    assert gauge() == "0.0"
    changes = [line for line in recorded.lines() if line["message"] == "fault.changed"]
    assert [(line["fault.name"], line["fault.active"]) for line in changes] == [
        ("response-errors", True),
        ("response-errors", False),
    ]
    assert (changes[0]["fault.parameters.percent"], changes[0]["fault.parameters.status"]) == (20, 503)


async def test_a_fault_with_an_end_ends_by_itself_and_gives_back_what_it_took() -> None:
    faults = Faults(API_FAULTS, allowed=True)
    faults.switch_on("response-errors", {"for_s": 0.02})
    assert faults.strike(RESPONSE_ERRORS) is not None
    ended = asyncio.Event()
    faults.on_end(RESPONSE_ERRORS, ended.set)
    async with asyncio.timeout(2):
        await ended.wait()
    assert faults.strike(RESPONSE_ERRORS) is None


async def test_a_poisoned_job_fails_every_time_and_the_others_never() -> None:
    faults = Faults(WORKER_FAULTS, allowed=True)
    faults.switch_on("poison-jobs", {"percent": 20})

    async def fails(payload: str) -> bool:
        try:
            await faults.disturb_job(None, payload)
        except InjectedError:
            return True
        return False

    first = [await fails(f"order {number}") for number in range(500)]
    assert first == [await fails(f"order {number}") for number in range(500)]
    assert sum(first) / 5 == pytest.approx(20, abs=5)


def test_a_job_is_unreadable_every_time_and_the_others_never() -> None:
    faults = Faults(WORKER_FAULTS, allowed=True)
    orders = [str(UUID(int=number << 64)) for number in range(1, 501)]
    assert [faults.read_job(order) for order in orders] == orders
    faults.switch_on("unreadable-jobs", {"percent": 20})
    read = [faults.read_job(order) for order in orders]
    assert read == [faults.read_job(order) for order in orders]
    garbled = [text for text, order in zip(read, orders, strict=True) if text != order]
    assert len(garbled) / 5 == pytest.approx(20, abs=5)
    for text in garbled:
        with pytest.raises(ValueError, match="badly formed"):
            UUID(text)


def test_what_a_fault_took_is_given_back_when_it_ends_and_not_before() -> None:
    faults, given_back = Faults(WORKER_FAULTS, allowed=True), list[str]()
    faults.on_end(UNREADABLE_JOBS, lambda: given_back.append("all"))
    faults.switch_on("unreadable-jobs", {})
    assert given_back == []
    faults.switch_off("unreadable-jobs")
    assert given_back == ["all"]
    faults.switch_off("unreadable-jobs")
    assert given_back == ["all"]


async def test_a_defect_is_an_unhandled_exception_on_its_route_only() -> None:
    faults = Faults(API_FAULTS, allowed=True)
    async with a_client(faults) as client:
        faults.switch_on("response-defect", {"route": "/v1/others"})
        assert (await client.get("/v1/things/1")).status_code == 200
        with pytest.raises(DefectiveReleaseError):
            await client.get("/v1/others")
