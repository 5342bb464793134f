"""Hands on processes: orders that the host fetches, carries out and answers, and what an engine is told for each."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from stack.container import control, orders
from stack.container.engine import Container, Engine
from stack.errors import StackError
from stack.layout import Layout
from stack.sabotage.app import ORDERS, build_app
from stack.sabotage.fault import Refused
from stack.sabotage.hands import HandsOnHost
from stack.sabotage.processes import Deploy, KillProcess, StopProcess

pytestmark = pytest.mark.anyio


def client_of(hands: HandsOnHost, path: Path) -> httpx.AsyncClient:
    faults = [StopProcess(hands), KillProcess(hands), Deploy(hands)]
    app = build_app(faults, path / "active.json", environment="development", hands=hands)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://faults")


async def host(client: httpx.AsyncClient, problems: dict[str, str], did: list[tuple[Any, ...]]) -> None:
    """Carries out every order; `problems` says at which deeds it fails."""
    while True:
        asked = await client.get(ORDERS)
        if asked.status_code == httpx.codes.OK:
            order = asked.json()
            did.append((order["deed"], order["component"], order["environment"]))
            body = {"problem": problems.get(order["deed"], "")}
            assert (await client.put(f"{ORDERS}/{order['number']}", json=body)).status_code == 204


async def test_the_host_fetches_orders_carries_them_out_and_the_fault_is_on(tmp_path: Path) -> None:
    did: list[tuple[Any, ...]] = []
    async with client_of(HandsOnHost(), tmp_path) as client:
        hand = asyncio.create_task(host(client, {}, did))
        on = await client.put("/internal/faults/stop-process", json={"component": "loki"})
        assert [one["name"] for one in on.json()["faults"] if one["active"]] == ["stop-process"]
        await client.delete("/internal/faults/stop-process")
        await client.put("/internal/faults/deploy", json={"component": "api-1", "version": "2", "defect": "errors"})
        await client.delete("/internal/faults")
        hand.cancel()
    environment = {"SIGNALBOX_VERSION": "2", "SIGNALBOX_DEFECT": "errors", "SIGNALBOX_DEFECT_PERCENT": "100"}
    assert did == [
        ("find", "loki", None),
        ("freeze", "loki", None),
        ("thaw", "loki", None),
        ("find", "api-1", None),
        ("override", "api-1", environment),
        ("override", "api-1", None),
    ]


async def test_a_deed_that_fails_on_the_host_is_told_and_nothing_stays_on(tmp_path: Path) -> None:
    did: list[tuple[Any, ...]] = []
    async with client_of(HandsOnHost(), tmp_path) as client:
        hand = asyncio.create_task(host(client, {"keep-down": "the engine sleeps"}, did))
        refused = await client.put("/internal/faults/kill-process", json={"component": "loki"})
        hand.cancel()
        listed = (await client.get("/internal/faults")).json()["faults"]
    assert refused.status_code == 409
    assert "the engine sleeps" in refused.json()["detail"]
    assert [deed for deed, *_ in did] == ["find", "keep-down", "let-up"]
    assert not [one for one in listed if one["active"]]


async def test_without_anybody_on_the_host_it_is_refused_with_the_reason(tmp_path: Path) -> None:
    hands = HandsOnHost(pick_up_s=0.05)
    with pytest.raises(Refused, match="nobody on the host carries it out"):
        await hands.keep_down("loki")
    assert await hands.take(0.05) is None, "an order that nobody waits for is not carried out later"


async def test_whoever_would_undo_it_is_not_disturbed(tmp_path: Path) -> None:
    async with client_of(HandsOnHost(), tmp_path) as client:
        refused = await client.put("/internal/faults/stop-process", json={"component": "faults"})
    assert refused.status_code == 422
    assert "nobody would be left to undo it" in refused.json()["detail"]


# On the host


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[Any, ...]]]:
    """What an engine with a running, a paused and an ended container is told."""
    found: list[tuple[Any, ...]] = []
    there = [
        Container(f"id-{status}", f"{status}-one", "image", status, "", 0, 0, 1, "2026", "", False)
        for status in ("running", "paused", "exited")
    ]
    monkeypatch.setattr(Engine, "containers", lambda self: there)
    monkeypatch.setattr(Engine, "act", lambda self, verb, identity: found.append((verb, identity)))
    monkeypatch.setattr(control, "override", lambda layout, *what: found.append(("override", *what)))
    return found


@pytest.mark.parametrize(
    ("deed", "component", "wanted"),
    [
        ("find", "running-one", []),
        ("freeze", "running-one", [("pause", "id-running")]),
        ("thaw", "paused-one", [("unpause", "id-paused")]),
        ("thaw", "running-one", []),
        ("keep-down", "running-one", [("kill", "id-running")]),
        ("let-up", "exited-one", [("start", "id-exited")]),
        ("let-up", "running-one", []),
        ("override", "running-one", [("override", "running-one", {"A": "b"})]),
    ],
)
def test_what_the_engine_is_told(
    tmp_path: Path, told: list[tuple[Any, ...]], deed: str, component: str, wanted: list[tuple[Any, ...]]
) -> None:
    order = {"number": 1, "deed": deed, "component": component, "environment": {"A": "b"}}
    assert orders.carry_out(Layout(tmp_path, tmp_path), order) == ""
    assert told == wanted


@pytest.mark.parametrize(
    ("deed", "component", "why"),
    [
        ("find", "exited-one", "exited-one does not run (exited)"),
        ("freeze", "paused-one", "paused-one does not run (paused)"),
        ("keep-down", "nothing", "There are exited-one, paused-one, running-one"),
    ],
)
def test_what_cannot_be_done_is_said(
    tmp_path: Path, told: list[tuple[Any, ...]], deed: str, component: str, why: str
) -> None:
    order = {"number": 1, "deed": deed, "component": component, "environment": None}
    assert why in orders.carry_out(Layout(tmp_path, tmp_path), order)
    assert told == []


def test_an_engine_that_refuses_is_an_answer_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Engine) -> list[Container]:
        raise StackError("the container engine does not answer")

    monkeypatch.setattr(Engine, "containers", refuse)
    order = {"number": 1, "deed": "find", "component": "loki", "environment": None}
    assert "does not answer" in orders.carry_out(Layout(tmp_path, tmp_path), order)
