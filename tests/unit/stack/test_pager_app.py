"""The pager as its clients meet it: over HTTP, with real servers in the place of the backends."""

from __future__ import annotations

import asyncio
import html
import json
import re
import sqlite3
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from stack.pager.api import MAX_BODY_BYTES
from stack.pager.settings import Settings
from tests.unit.stack.pager_client import Backend, pages, rfc3339, running, until, webhook

pytestmark = pytest.mark.anyio

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>{{ 7*7 }}"


EXEMPLARS = {
    "status": "success",
    "data": [
        {
            "seriesLabels": {"__name__": "http_bucket"},
            "exemplars": [
                {"labels": {"trace_id": TRACE, "span_id": "a" * 16}, "value": "0.2", "timestamp": 20.5},
                {"labels": {"trace_id": "0" * 31 + "1"}, "value": "0.2", "timestamp": 10.5},
            ],
        }
    ],
}


async def test_a_page_appears_once_is_explained_and_ends(settings: Settings, backend: Backend) -> None:
    backend.answer("/api/v1/query_exemplars", EXEMPLARS)
    start = time.time() - 60
    async with running(settings) as client:
        for _ in range(3):
            assert (await client.post("/api/v1/alerts", json=webhook(start=start))).status_code == 200
        [page] = await until(lambda: pages(client), lambda listed: listed[0]["trace_id"] and listed[0]["evidence"])
        assert page["trace_id"] == TRACE
        assert page["links"]["trace"] == f"/traces/{TRACE}"
        assert page["links"]["logs"].startswith(f"/logs/{TRACE}")
        assert page["links"]["runbook"] == "/runbooks/CheckoutAvailabilityBurnPage"
        alone = (await client.get(f"/api/v1/pages/{page['id']}")).json()
        assert {**alone, "evidence": None} == {**page, "evidence": None}

        await client.post("/api/v1/alerts", json=webhook("resolved", start=start))
        [ended] = await pages(client)
        assert (ended["id"], ended["state"], ended["trace_id"]) == (page["id"], "resolved", TRACE)

    queries = [query for path, query in backend.asked if path == "/api/v1/query_exemplars"]
    assert {query["query"] for query in queries} == {'http_bucket{outcome="bad"}'}
    assert float(queries[0]["end"]) - float(queries[0]["start"]) == pytest.approx(15 * 60)


async def test_alertmanager_never_waits_for_the_exemplar(settings: Settings, backend: Backend) -> None:
    backend.is_slow.set()
    async with running(settings) as client:
        begun = time.monotonic()
        assert (await client.post("/api/v1/alerts", json=webhook())).status_code == 200
        assert time.monotonic() - begun < 1.0
        backend.answer("/api/v1/query_exemplars", EXEMPLARS)
        backend.is_slow.clear()
        await until(lambda: pages(client), lambda listed: listed[0]["trace_id"] == TRACE)


async def test_an_exemplar_that_is_not_there_yet_is_asked_for_again(settings: Settings, backend: Backend) -> None:
    backend.answer("/api/v1/query_exemplars", {"status": "success", "data": []})
    async with running(settings) as client:
        await client.post("/api/v1/alerts", json=webhook())

        async def asked() -> int:
            return sum(path == "/api/v1/query_exemplars" for path, _ in backend.asked)

        await until(asked, lambda times: times >= 1)
        assert "Looking for a trace" in (await client.get("/")).text
        backend.answer("/api/v1/query_exemplars", EXEMPLARS)
        await until(lambda: pages(client), lambda listed: listed[0]["trace_id"] == TRACE)


async def test_pages_and_their_search_for_a_trace_survive_a_restart(settings: Settings, backend: Backend) -> None:
    async with running(settings) as client:
        await client.post("/api/v1/alerts", json=webhook())
        [before] = await pages(client)
    backend.answer("/api/v1/query_exemplars", EXEMPLARS)
    async with running(settings) as client:
        [after] = await until(lambda: pages(client), lambda listed: listed[0]["trace_id"])
        assert after["id"] == before["id"]


async def test_a_group_of_alerts_makes_a_page_each(settings: Settings) -> None:
    both = webhook()
    both["alerts"] += webhook("resolved", fingerprint="other")["alerts"] + ["nonsense"]
    async with running(settings) as client:
        answer = (await client.post("/api/v1/alerts", json=both)).json()
        assert (answer["received"], len(answer["opened"])) == (2, 1)
        assert answer["refused"] == ["alerts[2]: not a JSON object"]
        assert {page["state"] for page in await pages(client)} == {"firing", "resolved"}
        assert [page["fingerprint"] for page in await pages(client, state="resolved")] == ["other"]


UNUSABLE_BODIES = [
    (b"", 400, "not JSON"),
    (b"{", 400, "not JSON"),
    (b"\xff\xfe", 400, "not JSON"),
    (b'"\\ud800"', 400, "not JSON"),
    (b"[" * 100_000, 400, "not JSON"),
    (b'{"version":"4","alerts":[]}', 400, "at least one alert"),
    (b'{"version":"4","alerts":[{"status":"firing","labels":{"alertname":"A"},"startsAt":"x"}]}', 400, "startsAt"),
    (b"[" + b" " * MAX_BODY_BYTES + b"]", 413, "larger than 4 MiB"),
]


@pytest.mark.parametrize("path", ["/api/v1/alerts", "/api/v1/deadman"])
async def test_a_body_that_cannot_be_used_is_a_problem_with_its_reason(settings: Settings, path: str) -> None:
    async with running(settings) as client:
        for body, status, reason in UNUSABLE_BODIES:
            answer = await client.post(path, content=body, headers={"content-type": "application/json"})
            assert answer.status_code == status, body[:100]
            assert answer.headers["content-type"] == "application/problem+json"
            assert reason in answer.json()["detail"], body[:100]
        assert await pages(client) == []


async def test_a_web_page_elsewhere_cannot_make_a_browser_post_alerts(settings: Settings) -> None:
    async with running(settings) as client:
        answer = await client.post("/api/v1/alerts", json=webhook(), headers={"origin": "https://evil.example"})
        assert answer.status_code == 403
        assert await pages(client) == []


async def test_since_takes_both_kinds_of_time_and_refuses_all_else(settings: Settings) -> None:
    async with running(settings) as client:
        await client.post("/api/v1/alerts", json=webhook())
        before, after = time.time() - 30, time.time() + 30
        for since, found in [(str(before), 1), (rfc3339(before), 1), (str(after), 0), (rfc3339(after), 0)]:
            assert len(await pages(client, since=since)) == found, since
        unescaped = await client.get(f"/api/v1/pages?since={rfc3339(before)}")  # `+00:00` arrives as ` 00:00`
        assert len(unescaped.json()["pages"]) == 1
        for query in ("since=yesterday", "since=nan", "since=9999-12-31T23:59:59-14:00x", "state=open"):
            answer = await client.get(f"/api/v1/pages?{query}")
            assert answer.status_code == 400, query
        assert (await client.get("/api/v1/pages/nothing")).status_code == 404


async def test_a_book_that_cannot_be_written_asks_alertmanager_to_try_again(settings: Settings) -> None:
    async with running(settings) as client:
        other = sqlite3.connect(settings.data / "pages.sqlite3")
        other.execute("DROP TABLE page")
        other.close()
        answer = await client.post("/api/v1/alerts", json=webhook())
        assert answer.status_code == 503
        assert "SIGNALBOX_PAGER_DATA" in answer.json()["detail"]
        assert (await client.get("/livez")).status_code == 200


async def test_health_and_metrics(settings: Settings) -> None:
    async with running(settings) as client:
        assert (await client.get("/livez")).status_code == 200
        assert (await client.get("/readyz")).json() == {"status": "ok"}
        await client.post("/api/v1/alerts", json=webhook())
        text = (await client.get("/metrics")).text
        assert 'signalbox_pager_pages{state="firing"} 1\n' in text
        assert "signalbox_pager_notices_total 1\n" in text
        assert "heartbeat_age" not in text
        await client.post("/api/v1/deadman", json=webhook())
        assert re.search(r"^signalbox_pager_heartbeat_age_seconds 0\.\d+$", (await client.get("/metrics")).text, re.M)


async def test_in_a_storm_of_alerts_the_front_page_stays_short_and_says_so(settings: Settings) -> None:
    alerts = [webhook(fingerprint=f"f{number}")["alerts"][0] for number in range(200)]
    async with running(settings) as client:
        answer = await client.post("/api/v1/alerts", json={"version": "4", "status": "firing", "alerts": alerts})
        assert len(answer.json()["opened"]) == 200
        text = (await client.get("/")).text
        assert "200 open pages" in text
        assert text.count("<article") == 50
        assert "150 more are open" in text


async def test_the_dashboard_link_leads_to_grafana_only_where_grafana_answers(
    settings: Settings, backend: Backend
) -> None:
    alert = webhook(annotations={"dashboard": "/d/slo"})

    async def link(client: httpx.AsyncClient) -> str:
        return str((await pages(client))[0]["links"]["dashboard"])

    async with running(replace(settings, grafana_url=backend.url, grafana_public_url=backend.url)) as client:
        await client.post("/api/v1/alerts", json=alert)
        assert (await link(client)).endswith("#figures")
    backend.answer("/api/health", {"database": "ok"})
    async with running(replace(settings, grafana_url=backend.url, grafana_public_url=backend.url)) as client:
        await until(lambda: link(client), lambda text: text.startswith(f"{backend.url}/d/slo"))


# The dead-man's switch


def impatient(settings: Settings, timeout_s: float = 0.6, **changes: Any) -> Settings:
    """Of a stack that has been whole before: one that never was has half an hour to become so."""
    settings.data.mkdir(parents=True, exist_ok=True)
    (settings.data / "alerting-was-whole-once").touch()
    return replace(settings, deadman_timeout_s=timeout_s, **changes)


async def switch(client: httpx.AsyncClient) -> dict[str, Any] | None:
    listed = [page for page in await pages(client) if page["alert"] == "DeadMansSwitch"]
    assert len(listed) <= 1
    return listed[0] if listed else None


async def test_silence_is_paged_and_the_page_ends_when_heartbeats_return(settings: Settings) -> None:
    async with running(impatient(settings)) as client:
        page = await until(lambda: switch(client), bool)
        assert (page["state"], page["tier"]) == ("firing", "page")
        assert "Watchdog" in page["summary"]
        assert "Prometheus: ready. Alertmanager: ready." in page["description"]
        assert page["links"]["silence"] is None
        assert '<h1 aria-live="polite">\n1 open page\n</h1>' in (await client.get("/")).text
        answer = await client.post("/api/v1/deadman", json=webhook())
        assert answer.json() == {"heartbeat": True}
        ended = await until(lambda: switch(client), lambda one: one["state"] == "resolved")
        assert (ended["id"], ended["summary"]) == (page["id"], page["summary"])


async def test_heartbeats_keep_the_switch_silent(settings: Settings) -> None:
    async with running(impatient(settings)) as client:
        deadline = time.monotonic() + 1.5
        while time.monotonic() < deadline:
            await client.post("/api/v1/deadman", json=webhook())
            assert await switch(client) is None
            await asyncio.sleep(0.05)
        assert "All quiet" in (await client.get("/")).text


async def test_a_stack_that_is_still_being_built_is_not_paged_for_it(settings: Settings) -> None:
    async with running(replace(settings, deadman_timeout_s=0.2)) as client:
        await asyncio.sleep(1)
        assert await switch(client) is None
        await client.post("/api/v1/deadman", json=webhook())  # now it is whole, and silence counts
        await until(lambda: switch(client), bool)
    async with running(replace(settings, deadman_timeout_s=0.2)) as client:
        await until(lambda: switch(client), bool)


async def test_a_resolved_watchdog_is_no_heartbeat(settings: Settings) -> None:
    async with running(impatient(settings)) as client:
        answer = await client.post("/api/v1/deadman", json=webhook("resolved"))
        assert answer.json() == {"heartbeat": False}
        await until(lambda: switch(client), bool)


async def test_before_the_grace_is_over_nothing_is_claimed_either_way(settings: Settings) -> None:
    async with running(impatient(settings, 60.0)) as client:
        text = (await client.get("/")).text
        assert "no heartbeat yet" in text
        assert "All quiet" not in text
        assert await switch(client) is None


@pytest.mark.processes
@pytest.mark.parametrize("dead", ["Prometheus", "Alertmanager"])
async def test_a_part_that_does_not_answer_is_paged_by_name_though_heartbeats_come(
    settings: Settings, backend: Backend, dead: str
) -> None:
    stopped = Backend()
    where = {"Prometheus": "prometheus_url", "Alertmanager": "alertmanager_url"}[dead]
    async with running(impatient(settings, 3.0, **{where: stopped.url})) as client:

        async def beat() -> Any:
            await client.post("/api/v1/deadman", json=webhook())
            return await switch(client)

        async def readiness() -> str:
            return (await client.get("/")).text

        await beat()
        await until(readiness, lambda text: text.count("ready\n") >= 2)
        stopped.stop()
        page = await until(beat, bool)
        assert page["summary"] == f"Alerting is down: {dead} does not work"
        assert f"{dead}: {urlsplit(stopped.url).netloc} does not answer" in page["description"]
        assert "No heartbeat" not in page["description"]


async def test_a_switch_that_went_off_before_a_restart_is_resolved_after_it(settings: Settings) -> None:
    async with running(impatient(settings)) as client:
        before = await until(lambda: switch(client), bool)
    async with running(impatient(settings, 60.0)) as client:
        assert (await switch(client) or {})["state"] == "firing"
        await client.post("/api/v1/deadman", json=webhook())
        after = await until(lambda: switch(client), lambda one: one["state"] == "resolved")
        assert after["id"] == before["id"]


# The web pages


def links(text: str) -> list[str]:
    return [html.unescape(link) for link in re.findall(r'<a [^>]*?href="([^"]*)"', text)]


async def follow(client: httpx.AsyncClient, text: str, start: str) -> tuple[str, str]:
    link = next(link for link in links(text) if link.startswith(start))
    answer = await client.get(link)
    assert answer.status_code == 200, f"{link}: {answer.status_code} {answer.text}"
    return link, answer.text


def jaeger_span(span_id: str, parent: str | None, **changes: Any) -> dict[str, Any]:
    references = [{"refType": "CHILD_OF", "traceID": TRACE, "spanID": parent}] if parent else []
    return {
        "traceID": TRACE,
        "spanID": span_id,
        "operationName": "POST /v1/charges",
        "references": references,
        "startTime": 1_785_542_400_000_000,
        "duration": 12_000,
        "tags": [],
        "logs": [],
        "processID": "p1",
    } | changes


JAEGER = {
    "data": [
        {
            "traceID": TRACE,
            "spans": [
                jaeger_span("a" * 16, None, operationName=HOSTILE),
                jaeger_span(
                    "b" * 16, "a" * 16, tags=[{"key": "error", "type": "bool", "value": True}, {"key": HOSTILE}]
                ),
            ],
            "processes": {"p1": {"serviceName": "payments", "tags": []}},
        }
    ]
}
LOKI = {
    "status": "success",
    "data": {
        "resultType": "streams",
        "result": [
            {
                "stream": {"service_name": "payments", "trace_id": TRACE},
                "values": [
                    ["1785542400000000000", json.dumps({"message": "charge refused", "span_id": "b" * 16})],
                    ["1785542400100000000", HOSTILE],
                ],
            }
        ],
    },
}


async def test_the_way_from_page_to_trace_to_logs_and_back_needs_no_grafana(
    settings: Settings, backend: Backend
) -> None:
    backend.answer("/api/v1/query_exemplars", EXEMPLARS)
    backend.answer(f"/api/traces/{TRACE}", JAEGER)
    backend.answer("/loki/api/v1/query_range", LOKI)
    async with running(settings) as client:
        await client.post("/api/v1/alerts", json=webhook())

        async def index() -> str:
            return (await client.get("/")).text

        text = await until(index, lambda text: "/traces/" in text)
        _, trace = await follow(client, text, "/traces/")
        assert "payments" in trace
        _, logs = await follow(client, trace, "/logs/")
        assert "charge refused" in logs
        back, again = await follow(client, logs, f"/traces/{TRACE}#span-")
        assert f'id="{back.split("#")[1]}"' in again

    [query] = [query for path, query in backend.asked if path == "/loki/api/v1/query_range"]
    assert f'trace_id="{TRACE}"' in query["query"]
    assert int(query["start"]) < 1_785_542_400_000_000_000 < int(query["end"])


async def test_every_link_of_a_page_leads_somewhere(settings: Settings, backend: Backend) -> None:
    backend.answer("/api/v1/query_exemplars", EXEMPLARS)
    backend.answer(f"/api/traces/{TRACE}", JAEGER)
    backend.answer("/loki/api/v1/query_range", LOKI)
    (settings.runbooks / "CheckoutAvailabilityBurnPage.md").write_text("# What to do")
    async with running(settings) as client:
        await client.post("/api/v1/alerts", json=webhook())
        [page] = await until(lambda: pages(client), lambda listed: listed[0]["trace_id"])
        for name in ("page", "runbook", "dashboard", "trace", "logs"):
            answer = await client.get(page["links"][name])
            assert answer.status_code == 200, name
        for path in ("/", page["links"]["page"], page["links"]["trace"], page["links"]["logs"]):
            for link in links((await client.get(path)).text):
                if link.startswith("/"):
                    assert (await client.get(link)).status_code == 200, f"{link} on {path}"


async def test_figures_are_drawn_from_what_prometheus_recorded(settings: Settings, backend: Backend) -> None:
    now = time.time()
    matrix = [{"metric": {}, "values": [[now - 120, "0.5"], [now - 60, "14.4"]]}]
    backend.answer("/api/v1/query_range", {"status": "success", "data": {"resultType": "matrix", "result": matrix}})
    vector = [{"metric": {}, "value": [now, "0.8731"]}]
    backend.answer("/api/v1/query", {"status": "success", "data": {"resultType": "vector", "result": vector}})
    async with running(settings) as client:
        await client.post("/api/v1/alerts", json=webhook())
        [page] = await pages(client)
        text = (await client.get(page["links"]["page"])).text
    assert "<polyline" in text
    assert "<strong>14.4×</strong>" in text
    assert "<strong>87.31 %</strong>" in text
    ranges = [query for path, query in backend.asked if path == "/api/v1/query_range"]
    [query] = [query for query in ranges if "burn_rate" in query["query"]]
    assert query["query"] == 'slo:current_burn_rate:ratio{service="checkout",slo="availability"}'


async def test_hostile_texts_stay_texts_on_every_page(settings: Settings, backend: Backend) -> None:
    backend.answer("/api/v1/query_exemplars", EXEMPLARS)
    backend.answer(f"/api/traces/{TRACE}", JAEGER)
    backend.answer("/loki/api/v1/query_range", LOKI)
    texts = dict.fromkeys(("summary", "description", "impact", "budget_remaining", "dashboard", HOSTILE), HOSTILE)
    names = {"alertname": HOSTILE, "service": HOSTILE, "slo": HOSTILE, "tier": HOSTILE, "team": HOSTILE, HOSTILE: "x"}
    async with running(settings) as client:
        body = webhook(labels=names, annotations=texts | {"exemplar_query": "x"}, fingerprint=HOSTILE)
        await client.post("/api/v1/alerts", json=body)
        await client.post("/api/v1/alerts", json=webhook("resolved", labels=names, annotations=texts, fingerprint="2"))
        [page] = await until(lambda: pages(client, state="firing"), lambda listed: listed[0]["trace_id"])
        shown = [
            "/",
            page["links"]["page"],
            page["links"]["trace"],
            page["links"]["logs"],
            "/runbooks/<script>",
            "/<script>",
        ]
        for path in shown:
            answer = await client.get(path)
            text = answer.text
            assert "<script>alert" not in text, path
            assert "<img" not in text, path
            assert not re.search(r"\son\w+=[^&]*?>", re.sub(r">[^<]*<", "><", text)), path
            assert all(
                link.startswith(("/", "#", "https://alertmanager.example/", settings.jaeger_url))
                for link in links(text)
            )
            policy = answer.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert answer.headers["x-content-type-options"] == "nosniff"
        assert HOSTILE in html.unescape((await client.get("/")).text)


async def test_a_page_carries_no_script_or_style_that_its_policy_would_refuse(settings: Settings) -> None:
    async with running(settings) as client:
        await client.post("/api/v1/alerts", json=webhook())
        text = (await client.get("/")).text
        assert re.findall(r"<script[^>]*>", text) == ['<script src="/static/page.js" defer>']
        assert not re.search(r"\sstyle=|<style|https?://", text.replace("https://alertmanager.example", ""))
        for asset in ("/static/page.js", "/static/pager.css", "/static/icon.svg"):
            assert (await client.get(asset)).status_code == 200
        for wrong in ("/static/../app.py", "/static/app.py", "/static/"):
            assert (await client.get(wrong)).status_code == 404


async def test_a_missing_runbook_names_the_file_to_add(settings: Settings) -> None:
    async with running(settings) as client:
        answer = await client.get("/runbooks/NewAlert")
        assert answer.status_code == 404
        assert "docs/runbooks/NewAlert.md" in answer.text
        (settings.runbooks / "NewAlert.md").write_text("# Meaning\n\n<b>raw</b>")
        answer = await client.get("/runbooks/NewAlert.md")
        assert answer.status_code == 200
        assert "<h1>Meaning</h1>" in answer.text
        assert "<b>" not in answer.text
        assert (await client.get("/runbooks/..%2F..%2Fetc%2Fpasswd")).status_code == 404


TROUBLE = [
    (f"/traces/{TRACE}", (404, b'{"errors":[]}'), 404, "does not have this trace yet"),
    (f"/traces/{TRACE}", (500, b"{}"), 503, "answered 500"),
    (f"/traces/{TRACE}", (302, b"{}"), 503, "answered 302"),
    (f"/traces/{TRACE}", (200, b"<html>"), 503, "not JSON"),
    (f"/traces/{TRACE}", (200, b'{"data":[{"spans":[{"spanID":1}]}]}'), 503, "not understood"),
    (f"/traces/{TRACE}", (200, b'{"data":[]}'), 404, "does not have this trace yet"),
    (f"/traces/{TRACE}", (200, b"[]"), 503, "not understood"),
    (f"/logs/{TRACE}", (502, b""), 503, "answered 502"),
    (f"/logs/{TRACE}", (200, b'{"data":{}}'), 503, "not understood"),
    (f"/logs/{TRACE}", (200, b'{"data":{"result":[]}}'), 200, "Loki has none"),
    (f"/logs/{TRACE}?at=nan", (200, b'{"data":{"result":[]}}'), 200, "Loki has none"),
    (f"/logs/{TRACE}?at=1e308", (200, b'{"data":{"result":[]}}'), 200, "Loki has none"),
]


async def test_a_backend_in_trouble_is_said_on_the_page(settings: Settings, backend: Backend) -> None:
    async with running(settings) as client:
        for path, broken, status, said in TROUBLE:
            backend.answers[f"/api/traces/{TRACE}"] = backend.answers["/loki/api/v1/query_range"] = broken
            answer = await client.get(path)
            assert (answer.status_code, said in answer.text) == (status, True), f"{path} {broken}: {answer.text}"


async def test_an_answer_without_end_is_not_taken_into_memory(settings: Settings, backend: Backend) -> None:
    backend.answers[f"/api/traces/{TRACE}"] = (200, b" " * (17 << 20))
    async with running(settings) as client:
        assert "more than 16 MiB" in (await client.get(f"/traces/{TRACE}")).text


async def test_what_is_no_trace_id_is_never_sent_to_a_backend(settings: Settings, backend: Backend) -> None:
    async with running(settings) as client:
        for wrong in ("xyz", "A" * 32, "a" * 31, "..%2f..%2fx", '"}', "a" * 5_000):
            for folder in ("traces", "logs"):
                assert (await client.get(f"/{folder}/{wrong}")).status_code == 404, wrong
    assert {path for path, _ in backend.asked} <= {"/-/ready"}


async def test_without_backends_pages_still_arrive_and_show(tmp_path: Path) -> None:
    async with running(Settings(data=tmp_path / "data", runbooks=tmp_path)) as client:
        await client.post("/api/v1/alerts", json=webhook())
        [page] = await pages(client)
        assert {page["links"][name] for name in ("trace", "logs", "jaeger", "silence")} == {None}
        assert "Checkout is failing" in (await client.get("/")).text
        assert (await client.get(page["links"]["page"])).status_code == 200
        assert "SIGNALBOX_JAEGER_URL is not set" in (await client.get(f"/traces/{TRACE}")).text


async def test_behind_a_prefix_the_web_pages_keep_to_it(settings: Settings) -> None:
    public = replace(settings, public_url="https://ops.example/pager")
    async with running(public) as client:
        await client.post("/api/v1/alerts", json=webhook())
        [page] = await pages(client)
        assert page["links"]["runbook"] == "https://ops.example/pager/runbooks/CheckoutAvailabilityBurnPage"
        text = (await client.get("/")).text
        assert 'src="/pager/static/page.js"' in text
        assert all(link.startswith(("/pager/", "#", "https://alertmanager.example/")) for link in links(text)), links(
            text
        )
