"""What the pager finds out about the cause of a page, and what it says of it."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from stack.pager.book import Book
from stack.pager.changes import Change, read_changes
from stack.pager.clues import build_clues, emit_share
from stack.pager.evidence import Dependency, Evidence, Raised, Share, parse_evidence, rank_dependencies
from stack.pager.page import Notice, build_page
from stack.pager.reconciliation import RECEIVER
from stack.pager.series import Course, Labels, Sample
from stack.pager.settings import Settings
from stack.pager.timeline import MOST, merge_changes, page_changes
from tests.unit.stack.pager_client import Backend, pages, running, until, webhook

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
WHOLE = Evidence(
    at=1.5,
    budget_remaining=0.4,
    events_lost=412.0,
    routes=(Share("POST /v1/orders", 87.0),),
    instances=(Share("api-2", 0.31), Share("api-1", 0.0)),
    exceptions=(Raised("api", "TimeoutError", 34.0, True),),
    dependencies=(Dependency("payments", 0.31, 0.0, 0.2, 0.01),),
    changes=((1.0, "fault x on"),),
    problems=("Loki: down",),
)


def told(evidence: Evidence | None, **annotations: str) -> dict[str, str]:
    page = build_page(Notice("f", "firing", 1.0, None, {"alertname": "A"}, annotations), 2.0)
    return {clue.name: clue.text for clue in build_clues(page, evidence)}


def test_evidence_survives_being_written_down() -> None:
    assert parse_evidence(WHOLE.to_document()) == WHOLE


def test_what_stands_out_is_told_with_what_it_stands_out_from() -> None:
    clues = told(WHOLE)
    assert clues["Worst route"] == "POST /v1/orders: 87 bad of late"
    assert clues["Worst instance"] == "api-2: 31 % bad, while api-1 has 0 %"
    assert clues["Top exception"] == "TimeoutError in api, 34 times, not seen in the hour before"
    assert clues["Under suspicion"] == (
        "payments: 31 % of the calls fail (0 % before) and 200 ms a call, 20.0 times as slow as before (10.0 ms)"
    )


def test_what_is_bad_everywhere_is_nobodys_in_particular() -> None:
    alike = replace(WHOLE, instances=(Share("api-2", 0.31), Share("api-1", 0.29)))
    assert told(alike)["Worst instance"] == "api-2: 31 % bad; all are alike (api-1)"


def test_what_the_alert_said_stands_until_the_pager_knows_better() -> None:
    assert told(None, worst_route="POST /a (3 bad)", suspect=" ") == {"Worst route": "POST /a (3 bad)"}
    assert told(WHOLE, worst_route="POST /a (3 bad)")["Worst route"] == "POST /v1/orders: 87 bad of late"


@pytest.mark.parametrize(
    ("failing", "before", "seconds", "seconds_before", "is_suspect"),
    [
        (0.31, 0.0, 0.01, 0.01, True),
        (0.31, 0.3, 0.01, 0.01, False),  # it always does
        (0.005, 0.0, 0.01, 0.01, False),
        (0.31, None, None, None, True),  # nobody knows how it was
        (0.0, 0.0, 0.2, 0.01, True),
        (0.0, 0.0, 0.002, 0.0002, False),  # too fast to be anybody's trouble
    ],
)
def test_a_dependency_is_suspected_when_it_is_worse_than_before(
    failing: float, before: float | None, seconds: float | None, seconds_before: float | None, is_suspect: bool
) -> None:
    assert bool(rank_dependencies([Dependency("x", failing, before, seconds, seconds_before)])) is is_suspect


def test_what_fails_is_suspected_before_what_is_slow() -> None:
    slow, failing = Dependency("slow", 0.0, 0.0, 9.0, 0.1), Dependency("failing", 0.02, 0.0, 0.1, 0.1)
    assert [one.name for one in rank_dependencies([slow, failing])] == ["failing", "slow"]


def test_a_suspect_stays_named_after_it_has_recovered_and_a_dead_backend_takes_nothing_back() -> None:
    later = Evidence(at=9.0, problems=("Prometheus: down",)).after(WHOLE)
    assert (later.at, later.budget_remaining, later.routes) == (9.0, 0.4, WHOLE.routes)
    assert told(later)["Under suspicion"].endswith("(earlier in this page)")


@pytest.mark.parametrize(
    ("ratio", "text"), [(0.0, "0 %"), (0.0004, "< 0.1 %"), (0.0144, "1.4 %"), (0.31, "31 %"), (-0.5, "-50 %")]
)
def test_shares_read_as_people_write_them(ratio: float, text: str) -> None:
    assert emit_share(ratio) == text


class Told:
    """Courses of a Prometheus, as read_changes asks for them."""

    def __init__(self, starts: list[Course], faults: list[Course]) -> None:
        self._answers = [starts, faults]

    async def vector(self, query: str, at: float) -> list[Sample]:
        raise NotImplementedError

    async def courses(self, query: str, start: float, end: float, step: float) -> list[Course]:
        return self._answers.pop(0)


def life(instance: str, began: float, version: str = "1.0") -> Course:
    labels: Labels = {"instance": instance, "service_version": version}
    return Course(labels, [(began + 1, began), (began + 2, began)])


@pytest.mark.anyio
async def test_a_new_version_is_a_deploy_and_the_same_one_a_restart() -> None:
    starts = [life("api-1", 10), life("api-2", 10), life("api-1", 200, "2.0"), life("api-2", 300), life("api-3", 400)]
    changes = await read_changes(Told(starts, []), 100.0, 500.0)  # type: ignore[arg-type]
    assert [(change.at, change.kind, change.text) for change in changes] == [
        (200, "deploy", "api-1 deployed: 2.0, was 1.0"),
        (300, "start", "api-2 restarted"),
        (400, "start", "api-3 started (1.0)"),
    ]


@pytest.mark.anyio
async def test_what_starts_together_is_one_change_and_a_switch_of_a_fault_is_two() -> None:
    fault = Course({"fault": "charge-errors"}, [(110.0, 0.0), (112.0, 1.0), (114.0, 1.0), (116.0, 0.0)])
    changes = await read_changes(Told([life("a", 105), life("b", 105)], [fault]), 100.0, 500.0)  # type: ignore[arg-type]
    assert [(change.at, change.text) for change in changes] == [
        (105, "a, b started (1.0)"),
        (112.0, "fault charge-errors on"),
        (116.0, "fault charge-errors off"),
    ]


def test_the_timeline_is_newest_first_and_pages_link_to_themselves() -> None:
    page = build_page(Notice("f", "resolved", 50.0, 60.0, {"alertname": "A", "tier": "page"}, {}), 61.0)
    merged, left_out = merge_changes([Change(55.0, "fault", "x on")], page_changes([page], "/base"), since=49.0)
    assert [(change.at, change.text) for change in merged] == [(55.0, "x on"), (50.0, "A (over after 10 s)")]
    assert (merged[1].link, left_out) == (f"/base/pages/{page.id}", 0)


def test_a_storm_of_pages_does_not_hide_the_deploy_that_began_it() -> None:
    storm = [Change(float(number), "page", "x") for number in range(100, 200)]
    merged, left_out = merge_changes([Change(1.0, "deploy", "it")], storm, since=0.0)
    assert (merged[-1].text, len(merged), left_out) == ("it", MOST + 1, 100 - MOST)


# Over HTTP


def vector(*series: tuple[dict[str, str], float]) -> dict[str, Any]:
    result = [{"metric": labels, "value": [1.0, str(value)]} for labels, value in series]
    return {"status": "success", "data": {"resultType": "vector", "result": result}}


@pytest.mark.anyio
async def test_a_page_is_explained_and_says_who_could_not_help(settings: Settings, backend: Backend) -> None:
    backend.answer("/api/v1/query", vector(({"http_request_method": "POST", "http_route": "/v1/orders"}, 7.0)))
    backend.answer("/api/v1/query_range", {"data": {"result": []}})
    annotations = {"summary": "Checkout is failing", "route_query": "bad", "lost_query": "lost[$since:5m]"}
    async with running(settings) as client:
        await client.post("/api/v1/alerts", json=webhook(annotations=annotations))
        [page] = await until(lambda: pages(client), lambda listed: listed[0]["evidence"])
        front = (await client.get("/")).text
        whole = (await client.get(page["links"]["page"])).text
    assert page["evidence"]["routes"] == [{"name": "POST /v1/orders", "value": 7.0}]
    assert page["evidence"]["events_lost"] == 7.0
    assert any(re.fullmatch(r"lost\[\d+s:5m\]", query["query"]) for _, query in backend.asked if "query" in query)
    for text in (front, whole):
        assert "POST /v1/orders: 7 bad of late" in text
        assert "Loki: " in text
    assert 'href="/query?expr=bad"' in whole


@pytest.mark.anyio
async def test_backends_that_hang_delay_neither_the_page_nor_the_front_page(
    settings: Settings, backend: Backend
) -> None:
    backend.is_slow.set()
    async with running(settings) as client:
        begun = time.monotonic()
        assert (await client.post("/api/v1/alerts", json=webhook())).status_code == 200
        assert time.monotonic() - begun < 1.0
        front = await client.get("/")
        assert "Checkout is failing" in front.text
        assert "no answer within 1.5 s" in front.text
        backend.is_slow.clear()


@pytest.mark.anyio
async def test_links_of_a_notification_lead_to_the_page_of_the_alert(settings: Settings, backend: Backend) -> None:
    async with running(settings) as client:
        await client.post("/api/v1/alerts", json=webhook())
        [page] = await pages(client)

        async def leads(query: str) -> str:
            answer = await client.get(f"/alerts?{query}")
            assert answer.status_code == 303
            return answer.headers["location"]

        known = f"fingerprint={page['fingerprint']}"
        assert await leads(known) == f"/pages/{page['id']}"
        assert await leads(f"{known}&to=trace") == f"/pages/{page['id']}"  # none is known yet
        assert await leads(f"{known}&to=changes") == f"/pages/{page['id']}#changes"
        assert await leads("fingerprint=unknown&to=//evil.example") == "/"
        backend.answer("/api/v1/query_exemplars", {"data": [{"exemplars": [{"labels": {"trace_id": TRACE}}]}]})
        await until(lambda: leads(f"{known}&to=trace"), lambda to: to == f"/traces/{TRACE}")
        assert (await leads(f"{known}&to=logs")).startswith(f"/logs/{TRACE}?at=")


def quick(settings: Settings) -> Settings:
    """A stack that was whole before, with a dead-man's switch of two seconds: unknown alerts are closed after four."""
    settings.data.mkdir(parents=True, exist_ok=True)
    (settings.data / "alerting-was-whole-once").touch()
    return replace(settings, deadman_timeout_s=2.0)


async def until_closed(client: Any, heartbeats: bool, timeout_s: float) -> dict[str, Any]:
    """Waits for the checkout's page to end, the heart of alerting beating meanwhile (or not)."""
    deadline = time.monotonic() + timeout_s
    while True:
        if heartbeats:
            await client.post("/api/v1/deadman", json=webhook())
        [page] = [page for page in await pages(client) if page["service"] == "checkout"]
        if page["state"] == "resolved" or time.monotonic() > deadline:
            return page


@pytest.mark.processes
@pytest.mark.anyio
async def test_a_page_that_alertmanager_does_not_know_is_closed_and_says_so(
    settings: Settings, backend: Backend
) -> None:
    backend.answer("/api/v2/alerts", [])
    async with running(quick(settings)) as client:
        await client.post("/api/v1/alerts", json=webhook())
        page = await until_closed(client, heartbeats=True, timeout_s=30)
        assert page["state"] == "resolved"
        assert page["closed_by_pager"].startswith("Closed by the pager: Alertmanager has not known this alert since 20")
        assert page["closed_by_pager"] in (await client.get(page["links"]["page"])).text
        await client.post("/api/v1/alerts", json=webhook(start=time.time()))  # it comes back: a page of its own
        assert {one["state"] for one in await pages(client)} == {"firing", "resolved"}


@pytest.mark.processes
@pytest.mark.anyio
@pytest.mark.parametrize("known", [True, False])
async def test_a_page_stays_open_while_its_alert_is_known_or_alerting_is_not_alive(
    settings: Settings, backend: Backend, known: bool
) -> None:
    backend.answer("/api/v2/alerts", [{"fingerprint": "6d1a3c1f0b8e9a77"}] if known else [])
    async with running(quick(settings)) as client:
        await client.post("/api/v1/alerts", json=webhook())
        page = await until_closed(client, heartbeats=known, timeout_s=6)
        assert (page["state"], page["closed_by_pager"]) == ("firing", None)


def held(state: str, receiver: str, mark: str) -> dict[str, Any]:
    """An alert as Alertmanager's API tells it."""
    return {
        "fingerprint": mark,
        "labels": {"alertname": f"Alert{mark}", "tier": "page"},
        "annotations": {"summary": "Checkout is failing"},
        "startsAt": "2026-11-26T10:26:38.957Z",
        "status": {"state": state, "silencedBy": [], "inhibitedBy": [], "mutedBy": []},
        "receivers": [{"name": receiver}],
    }


@pytest.mark.processes
@pytest.mark.anyio
async def test_an_alert_that_alertmanager_holds_and_told_nobody_of_gets_its_page(
    settings: Settings, backend: Backend
) -> None:
    broken = {**held("active", "pager", "4"), "startsAt": "once"}
    others = [held("suppressed", "pager", "1"), held("active", "deadman", "2"), {"fingerprint": "3"}, broken]
    backend.answer("/api/v2/alerts", [*others, held("active", "pager", "5")])
    async with running(quick(settings)) as client:
        begun = time.monotonic()
        while not (listed := await pages(client)) and time.monotonic() < begun + 30:
            await client.post("/api/v1/deadman", json=webhook())
        assert time.monotonic() - begun >= 4.0  # Alertmanager may only be waiting for the rest of a group
        assert [(page["alert"], page["state"], page["starts_at"]) for page in listed] == [
            ("Alert5", "firing", "2026-11-26T10:26:38.957Z")
        ]


def test_the_pager_goes_by_the_name_that_alertmanager_is_configured_with() -> None:
    generated = Path(__file__).parents[3] / "observability/alertmanager/_generated/alertmanager.yml"
    assert RECEIVER in [one["name"] for one in yaml.safe_load(generated.read_text())["receivers"]]


def test_evidence_of_a_page_that_has_ended_is_not_overwritten(tmp_path: Path) -> None:
    book = Book(tmp_path)
    notice = Notice("f", "firing", 1.0, None, {"alertname": "A"}, {})
    [page] = book.record([notice], now=2.0)
    book.set_evidence(page.id, b'{"then": 1}')
    book.record([replace(notice, state="resolved", ends_at=3.0)], now=4.0)
    book.set_evidence(page.id, b'{"now": 1}')
    assert book.evidence([page.id, "unknown"]) == {page.id: '{"then": 1}'}
    book.close()
