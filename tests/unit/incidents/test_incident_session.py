"""An incident from its baseline to its report, against a system that really answers over HTTP."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from stand_in import StandIn

from incidents.scenario_file import ScenarioFile
from incidents.session import Outcome, Session, Unusable

pytestmark = [pytest.mark.anyio, pytest.mark.processes]


async def run(source: ScenarioFile, system: StandIn, out: Path, *, twin: bool = False, **changes: Any) -> Outcome:
    session = Session(source, twin, 7, 20.0, {**system.urls, **changes.pop("urls", {})}, [{"name": "gateway"}])
    return await session.run(out, quiet=True, **changes)


def evidence(outcome: Outcome) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(Path(outcome.document["report"]).with_name("evidence.json").read_text())
    return document


def failing(outcome: Outcome) -> list[str]:
    return [
        f"{claim['kind']}: {claim['name']}: {claim['observed']}"
        for claim in evidence(outcome)["claims"]
        if not claim["ok"]
    ]


async def test_an_incident_that_pages_in_time_and_shows_its_signals_has_held(
    brief: ScenarioFile, system: StandIn, tmp_path: Path
) -> None:
    outcome = await run(brief, system, tmp_path)

    assert outcome.held, failing(outcome)
    document = outcome.document
    assert list(document) == ["id", "verdict", "alert", "signals", "report"]
    assert (document["id"], document["verdict"]) == ("brief", "held")
    assert list(document["alert"]) == ["name", "tier", "fired_after_s", "deadline_s"]
    assert 0.2 < document["alert"]["fired_after_s"] < 1.1
    assert [list(signal) for signal in document["signals"]] == [["name", "query", "observed", "wanted", "ok"]] * 3
    assert all(signal["ok"] for signal in document["signals"])
    assert system.history[:2] == ["set charge-errors at payments", "clear charge-errors at payments"]
    assert not system.broken

    said = evidence(outcome)["triage"]
    assert said["truth"] == {"component": "payments", "kind": "errors"}
    assert said["document"]["verdict"] in ("unusual", "nothing unusual")
    assert outcome.triage == {key: said[key] for key in ("truth", "place", "right", "in_three", "said", "after_s")}

    load = evidence(outcome)["load"]
    assert 5 <= load["sent"] == load["answered"] <= system.requests  # which counts the gate's own questions too
    assert load["routes"]["POST /v1/orders"]["bad"] > 0
    assert load["routes"]["GET /v1/products/{product_id}"]["bad"] == 0


def silence_pages(system: StandIn) -> None:
    system.pages_after_s = None


def soften_the_fault(system: StandIn) -> None:
    system.ratio_when_broken = 0.02


def page_for_more(system: StandIn) -> None:
    system.also_pages = ["CatalogueLatencyBurnPage", "AnotherPage"]


def never_resolve(system: StandIn) -> None:
    system.resolves = False


def lose_the_trace(system: StandIn) -> None:
    system.carries_trace = False


WHAT_FAILS_AN_INCIDENT = [
    (
        silence_pages,
        [
            "alert: CheckoutAvailabilityBurnPage: no page arrived",
            "exemplar: the page's exemplar trace: no page arrived",
        ],
    ),
    (soften_the_fault, ["signal: orders fail: 0.02"]),
    (page_for_more, ["silence: other alerts: CatalogueLatencyBurnPage"]),
    (never_resolve, ["mitigation: CheckoutAvailabilityBurnPage ends: still firing"]),
    (lose_the_trace, ["exemplar: the page's exemplar trace: the page carries no trace id"]),
]


async def test_each_broken_claim_fails_the_incident_and_the_fault_is_cleared_all_the_same(
    brief: ScenarioFile,
    build_system: Callable[[], StandIn],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("incidents.run.EXEMPLAR_PATIENCE_S", 0.5)
    systems = [build_system() for _ in WHAT_FAILS_AN_INCIDENT]
    for (change, _), system in zip(WHAT_FAILS_AN_INCIDENT, systems, strict=True):
        change(system)
    outcomes = await asyncio.gather(*(run(brief, system, tmp_path) for system in systems))

    observed = {
        change.__name__: failing(outcome) for (change, _), outcome in zip(WHAT_FAILS_AN_INCIDENT, outcomes, strict=True)
    }
    assert observed == {change.__name__: expected for change, expected in WHAT_FAILS_AN_INCIDENT}
    assert not any(system.broken for system in systems)


def nothing(system: StandIn) -> None:
    pass


def page_somebody(system: StandIn) -> None:
    system.page("SomethingElsePage", mine=False)


def open_a_ticket(system: StandIn) -> None:
    system.page("CheckoutAvailabilityBurnTicket", tier="ticket", mine=False)


def show_a_signal(system: StandIn) -> None:
    system.ratio_when_well = 0.5


def lose_loki(system: StandIn) -> None:
    system.down.add("loki")


WHAT_FAILS_A_TWIN = [
    (nothing, []),
    (open_a_ticket, []),
    (page_somebody, ["silence: other alerts: SomethingElsePage"]),
    (show_a_signal, ["signal: orders fail: 0.5"]),
    (lose_loki, ["signal: payments complains: nothing (loki answered 503)"]),
]


async def test_a_twin_breaks_nothing_and_holds_only_when_nobody_is_paged_and_nothing_shows(
    brief: ScenarioFile, build_system: Callable[[], StandIn], tmp_path: Path
) -> None:
    systems = [build_system() for _ in WHAT_FAILS_A_TWIN]

    async def run_and_change(change: Callable[[StandIn], None], system: StandIn) -> Outcome:
        running = asyncio.create_task(run(brief, system, tmp_path, twin=True))
        assert await asyncio.to_thread(system.watched.wait, 10), "the gate did not open"
        change(system)
        return await running

    outcomes = await asyncio.gather(
        *(run_and_change(change, system) for (change, _), system in zip(WHAT_FAILS_A_TWIN, systems, strict=True))
    )
    observed = {
        change.__name__: [re.sub(r" after .*|: \{.*\}", "", line) for line in failing(outcome)]
        for (change, _), outcome in zip(WHAT_FAILS_A_TWIN, outcomes, strict=True)
    }
    assert observed == {change.__name__: expected for change, expected in WHAT_FAILS_A_TWIN}
    assert all(system.history == [] for system in systems)
    document = outcomes[0].document
    assert (document["id"], document["verdict"]) == ("brief-twin", "held")
    assert document["alert"]["fired_after_s"] is None
    assert [signal["wanted"] for signal in document["signals"]] == ["not > 0.1", "not >= 1", "not >= 1"]


async def test_a_fault_that_is_on_already_refuses_the_run(brief: ScenarioFile, system: StandIn, tmp_path: Path) -> None:
    system.pages_after_s = None
    system.faults["charge-latency"] = {}
    outcome = await run(brief, system, tmp_path)

    assert not outcome.held
    assert "faults are on already: charge-latency at payments. Clear them first" in outcome.why
    assert system.history == []
    assert system.requests == 0
    assert [signal["ok"] for signal in outcome.document["signals"]] == [False, False, False]


def open_a_page(system: StandIn) -> None:
    system.page("CatalogueLatencyBurnPage", mine=False)


def hear_nothing(system: StandIn) -> None:
    system.heartbeat = False


WHAT_KEEPS_THE_GATE_SHUT = [
    (hear_nothing, "not healthy after 1.2 s: no heartbeat of the Watchdog has reached the pager yet"),
    (open_a_page, "not healthy after 1.2 s: CatalogueLatencyBurnPage is firing"),
    (show_a_signal, "not healthy after 1.2 s: the signal 'orders fail' shows already: 0.5"),
]


async def test_what_is_not_healthy_refuses_the_run_and_is_named(
    brief: ScenarioFile, build_system: Callable[[], StandIn], tmp_path: Path
) -> None:
    systems = [build_system() for _ in WHAT_KEEPS_THE_GATE_SHUT]
    for (change, _), system in zip(WHAT_KEEPS_THE_GATE_SHUT, systems, strict=True):
        change(system)
    outcomes = await asyncio.gather(*(run(brief, system, tmp_path) for system in systems))

    for (_, words), outcome in zip(WHAT_KEEPS_THE_GATE_SHUT, outcomes, strict=True):
        assert words in outcome.why
    assert all(system.history == [] for system in systems)


async def test_a_backend_that_is_down_refuses_the_run_by_name(
    brief: ScenarioFile, system: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("incidents.baseline.REACH_S", 0.3)
    system.down.add("prometheus")
    assert "not run: prometheus answered 503" in (await run(brief, system, tmp_path)).why


async def test_production_refuses_faults(
    brief: ScenarioFile, system: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("incidents.baseline.REACH_S", 0.3)
    system.production = True
    assert "they exist in development only" in (await run(brief, system, tmp_path)).why


async def test_an_address_that_is_missing_is_named(brief: ScenarioFile, system: StandIn, tmp_path: Path) -> None:
    with pytest.raises(Unusable, match="no address of loki, jaeger"):
        await run(brief, system, tmp_path, urls={"loki": None, "jaeger": None})


async def test_a_folder_that_cannot_be_written_is_said(brief: ScenarioFile, system: StandIn, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    system.faults["charge-latency"] = {}
    with pytest.raises(Unusable, match="the report cannot be written"):
        await run(brief, system, tmp_path / "file")


async def test_two_runs_in_one_second_have_a_folder_each(brief: ScenarioFile, system: StandIn, tmp_path: Path) -> None:
    system.faults["charge-latency"] = {}
    system.pages_after_s = None
    first, second = await asyncio.gather(run(brief, system, tmp_path), run(brief, system, tmp_path))
    assert first.document["report"] != second.document["report"]
