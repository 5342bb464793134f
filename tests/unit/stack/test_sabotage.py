"""Faults from outside: told in one form, kept on disk, undone by whoever comes next, and ended in time."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from bench.ports import free_port
from incidents.certificate import observe_expiry
from stack.sabotage.app import build_app
from stack.sabotage.certificate import CertificateParameters, ShortCertificate, TlsEndpoint
from stack.sabotage.fault import Parameters, Refused
from stack.sabotage.ledger import Ledger

pytestmark = pytest.mark.anyio


class Wall:
    """A fault whose effect is a list: what is written there is broken."""

    name = "wall"
    description = "a brick is taken out"
    parameters = Parameters

    def __init__(self) -> None:
        self.holes: list[str] = []
        self.refusal = ""
        self.stubborn = 0

    async def plan(self, parameters: Parameters) -> dict[str, Any]:
        return {"brick": "third"}

    async def apply(self, parameters: Parameters, record: dict[str, Any]) -> None:
        self.holes.append(record["brick"])
        if self.refusal:
            raise Refused(self.refusal)

    async def undo(self, parameters: Parameters, record: dict[str, Any]) -> None:
        if self.stubborn:
            self.stubborn -= 1
            raise OSError("mortar is out")
        if record["brick"] in self.holes:
            self.holes.remove(record["brick"])


def ledger_of(wall: Wall, path: Path) -> tuple[Ledger, list[tuple[str, bool]]]:
    told: list[tuple[str, bool]] = []
    return Ledger([wall], path, lambda name, parameters: told.append((name, parameters is not None))), told


async def test_a_fault_is_written_down_before_it_is_set_and_forgotten_once_undone(tmp_path: Path) -> None:
    wall, path = Wall(), tmp_path / "active.json"
    ledger, told = ledger_of(wall, path)
    await ledger.switch_on("wall", {})
    assert wall.holes == ["third"]
    assert json.loads(path.read_text())[0]["record"] == {"brick": "third"}
    await ledger.switch_on("wall", {})
    assert wall.holes == ["third"], "one that is on is undone first"
    await ledger.switch_off("wall")
    await ledger.switch_off("wall")
    assert (wall.holes, json.loads(path.read_text())) == ([], [])
    assert told == [("wall", True), ("wall", False), ("wall", True), ("wall", False)]


async def test_whoever_starts_next_undoes_what_a_killed_process_left(tmp_path: Path) -> None:
    wall, path = Wall(), tmp_path / "active.json"
    await ledger_of(wall, path)[0].switch_on("wall", {})
    undone = asyncio.Event()
    successor = Ledger([wall], path, lambda name, parameters: parameters is None and undone.set())
    successor.restore()
    async with asyncio.timeout(2):
        await undone.wait()
    assert (wall.holes, successor.active) == ([], {})


async def test_a_fault_with_an_end_ends_by_itself_even_if_undoing_needs_a_second_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stack.sabotage.ledger.RETRY_S", 0.01)
    wall = Wall()
    ended = asyncio.Event()
    ledger = Ledger([wall], tmp_path / "active.json", lambda name, parameters: parameters is None and ended.set())
    await ledger.switch_on("wall", {"for_s": 0.02})
    wall.stubborn = 1
    async with asyncio.timeout(2):
        await ended.wait()
    assert (wall.holes, ledger.active) == ([], {})


async def test_what_cannot_be_set_is_undone_at_once(tmp_path: Path) -> None:
    wall = Wall()
    wall.refusal = "too thick"
    ledger, _ = ledger_of(wall, tmp_path / "active.json")
    with pytest.raises(Refused, match="too thick"):
        await ledger.switch_on("wall", {})
    assert (wall.holes, ledger.active) == ([], {})


def client_of(path: Path, environment: str) -> tuple[Wall, httpx.AsyncClient]:
    wall = Wall()
    app = build_app([wall], path / "active.json", environment=environment)
    return wall, httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://faults")


async def test_faults_are_switched_over_http_and_each_change_is_a_line_and_a_gauge(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wall, client = client_of(tmp_path, "development")
    async with client:
        (view,) = (await client.put("/internal/faults/wall", json={"for_s": 60})).json()["faults"]
        assert (view["name"], view["active"], view["parameters"]) == ("wall", True, {"for_s": 60})
        assert 'signalbox_fault_active{fault="wall"} 1' in (await client.get("/metrics")).text
        (view,) = (await client.delete("/internal/faults")).json()["faults"]
        assert (view["active"], wall.holes) == (False, [])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["message"], line["fault.active"]) for line in lines] == [
        ("fault.changed", True),
        ("fault.changed", False),
    ]
    assert lines[0]["fault.parameters.for_s"] == 60


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/nonsense", b"{}", 404, "known: wall"),
        ("/wall", b"[]", 422, "not a JSON object"),
        ("/wall", b"{", 422, "not JSON"),
        ("/wall", b'{"for_s": -1}', 422, "for_s"),
        ("/wall", b'{"percent": 5}', 422, "percent"),
    ],
)
async def test_wrong_use_is_a_problem_and_breaks_nothing(
    tmp_path: Path, path: str, body: bytes, status: int, words: str
) -> None:
    wall, client = client_of(tmp_path, "development")
    async with client:
        answer = await client.put(f"/internal/faults{path}", content=body)
    assert (answer.status_code, wall.holes) == (status, [])
    assert words in answer.json()["detail"]


async def test_outside_development_nothing_can_be_broken(tmp_path: Path) -> None:
    wall, client = client_of(tmp_path, "production")
    async with client:
        assert (await client.put("/internal/faults/wall", json={})).status_code == 403
    assert wall.holes == []


async def test_the_prober_sees_a_certificate_end_soon_and_a_new_one_in_its_place(tmp_path: Path) -> None:
    port = free_port()
    endpoint = TlsEndpoint("127.0.0.1", port, tmp_path)
    fault = ShortCertificate(endpoint)
    async with endpoint.serving():
        assert await days_left(port) == pytest.approx(90, abs=0.1)
        await fault.apply(CertificateParameters(hours_left=12), {})
        assert await days_left(port) == pytest.approx(0.5, abs=0.1)
        await fault.apply(CertificateParameters(hours_left=-1), {})
        assert await days_left(port) < 0, "an expired one is looked at all the same"
        await fault.undo(CertificateParameters(), {})
        assert await days_left(port) > 80
    assert await observe_expiry(f"127.0.0.1:{port}") is None


async def days_left(port: int) -> float:
    expiry = await observe_expiry(f"127.0.0.1:{port}")
    assert expiry is not None
    return (expiry - time.time()) / 86_400
