"""What the pager makes of traces, log lines, figures and settings before it shows them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stack.pager.backends import BackendError
from stack.pager.exemplars import parse_newest_trace_id
from stack.pager.figures import HEIGHT, WIDTH, draw_curve, parse_samples
from stack.pager.links import build_links
from stack.pager.loglines import parse_log_lines
from stack.pager.page import Notice, Page, build_page
from stack.pager.queries import Row, build_query_link, parse_answer
from stack.pager.runbooks import read_runbook
from stack.pager.settings import Settings, SettingsError, read_settings
from stack.pager.waterfall import MAX_ROWS, Waterfall, parse_waterfall
from stack.pager.web import emit_duration

NOW = 1_785_542_400.0
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def page(**labels: str) -> Page:
    notice = Notice("f", "firing", NOW, None, {"alertname": "A"} | labels, {"dashboard": "/d/slo/slo?var-slo=x"})
    return build_page(notice, NOW)


def span(span_id: str, parent: str | None = None, start: int = 0, duration: int = 10, **changes: Any) -> dict[str, Any]:
    references = [{"refType": "CHILD_OF", "traceID": TRACE, "spanID": parent}] if parent else []
    return {
        "spanID": span_id,
        "operationName": f"op {span_id}",
        "references": references,
        "startTime": 1_000_000 + start,
        "duration": duration,
        "tags": [],
        "logs": [],
        "processID": "p1",
    } | changes


def waterfall(*spans: dict[str, Any]) -> Waterfall:
    trace = parse_waterfall({"data": [{"spans": list(spans), "processes": {"p1": {"serviceName": "api"}}}]}, TRACE)
    assert trace is not None
    return trace


def test_spans_stand_below_their_parents_in_the_order_of_their_starts() -> None:
    trace = waterfall(span("c", "a", 50), span("b", "a", 20), span("a"), span("d", "b", 30))
    assert [(row.span_id, row.depth) for row in trace.rows] == [("a", 0), ("b", 1), ("d", 2), ("c", 1)]


def test_a_span_whose_parent_is_absent_is_shown_as_a_root() -> None:
    trace = waterfall(span("b", "nowhere", 5), span("a"))
    assert [(row.span_id, row.depth) for row in trace.rows] == [("a", 0), ("b", 0)]


def test_spans_in_a_circle_are_all_shown_once() -> None:
    trace = waterfall(span("a", "c"), span("b", "a"), span("c", "b"), span("d", "d"))
    assert sorted(row.span_id for row in trace.rows) == ["a", "b", "c", "d"]


def test_bars_are_true_to_time_and_never_leave_the_drawing() -> None:
    trace = waterfall(span("a", duration=1_000), span("b", "a", 250, 500), span("c", "a", 1_000, 0))
    bars = {row.span_id: (row.bar_x, row.bar_width) for row in trace.rows}
    assert bars["a"] == (0.0, 1_000.0)
    assert bars["b"] == (250.0, 500.0)
    assert bars["c"][0] + bars["c"][1] <= 1_000.0


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 100), st.integers(-5, 100)), min_size=1))
def test_every_span_gets_exactly_one_row_inside_the_drawing(spans: list[tuple[int, int, int, int]]) -> None:
    named = {str(one): span(str(one), str(parent), start, duration) for one, parent, start, duration in spans}
    trace = waterfall(*named.values())
    assert sorted(row.span_id for row in trace.rows) == sorted(named)
    assert all(row.bar_x >= 0 and row.bar_x + row.bar_width <= 1_000.05 for row in trace.rows)


def test_a_deep_and_a_long_trace_are_cut_not_choked_on() -> None:
    chain = [span(str(one), str(one - 1) if one else None) for one in range(5_000)]
    trace = waterfall(*chain)
    assert (len(trace.rows), trace.left_out) == (MAX_ROWS, 5_000 - MAX_ROWS)


def test_services_of_a_trace_have_colours_of_their_own() -> None:
    processes = {f"p{one}": {"serviceName": f"s{one}"} for one in range(8)}
    spans = [span(str(one), processID=f"p{one}") for one in range(8)]
    trace = parse_waterfall({"data": [{"spans": spans, "processes": processes}]}, TRACE)
    assert trace is not None
    assert sorted(trace.colours.values()) == list(range(8))


def tag(key: str, value: object) -> dict[str, object]:
    return {"key": key, "type": "string", "value": value}


EXCEPTION = {
    "timestamp": 1_000_004,
    "fields": [tag("event", "exception"), tag("exception.type", "TimeoutError"), tag("exception.message", "no answer")],
}


@pytest.mark.parametrize(
    ("changes", "failure"),
    [
        ({}, None),
        ({"tags": [tag("http.response.status_code", 500)]}, None),
        ({"tags": [tag("error", False)]}, None),
        ({"tags": [tag("error", True)]}, "failed"),
        ({"tags": [tag("error", True), tag("http.response.status_code", 500)]}, "HTTP 500"),
        ({"tags": [tag("otel.status_code", "ERROR"), tag("otel.status_description", "boom")]}, "boom"),
        ({"tags": [tag("error", True)], "logs": [EXCEPTION]}, "TimeoutError: no answer"),
    ],
)
def test_a_failed_span_says_how(changes: dict[str, Any], failure: str | None) -> None:
    assert waterfall(span("a", **changes)).rows[0].failure == failure


def test_the_deepest_failure_comes_first() -> None:
    failed = {"tags": [tag("error", True)]}
    trace = waterfall(span("a", **failed), span("b", "a", **failed), span("c", "a"))
    assert [row.span_id for row in trace.failures] == ["b", "a"]


def streams(*values: tuple[dict[str, str], str, str]) -> dict[str, Any]:
    return {"data": {"result": [{"stream": labels, "values": [[at, text]]} for labels, at, text in values]}}


def test_log_lines_are_read_whether_json_or_not_and_sorted_by_time() -> None:
    structured = json.dumps({"message": "payment failed", "severity": "ERROR", "trace_id": TRACE, "span_id": "a" * 16})
    lines = parse_log_lines(
        streams(
            ({"service_name": "api"}, "2000000000", structured),
            ({"service_name": "payments", "severity_text": "INFO", "trace_id": TRACE}, "1500000000", "plain"),
        )
    )
    assert [(line.at, line.service, line.level, line.message) for line in lines] == [
        (1.5, "payments", "INFO", "plain"),
        (2.0, "api", "ERROR", "payment failed"),
    ]
    assert [line.trace_id for line in lines] == [TRACE, TRACE]
    assert [line.span_id for line in lines] == [None, "a" * 16]
    assert [line.is_error for line in lines] == [False, True]


def test_a_line_leads_to_its_own_trace_and_to_none_when_its_id_is_no_id() -> None:
    hostile = json.dumps({"message": "x", "trace_id": '"><script>', "span_id": "../../x"})
    [line] = parse_log_lines(streams(({}, "1", hostile)))
    assert (line.trace_id, line.span_id) == (None, None)


def exemplars(*pairs: tuple[Any, float]) -> dict[str, Any]:
    return {"data": [{"exemplars": [{"labels": {"trace_id": one}, "timestamp": at}]} for one, at in pairs]}


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ({}, None),
        ([], None),
        ({"data": None}, None),
        ({"data": [{"seriesLabels": {}}]}, None),
        (exemplars(("ab" * 16, 1.0), ("cd" * 16, 3.0), ("ef" * 16, 2.0)), "cd" * 16),
        (exemplars(("AB" * 16, 1.0), ("not an id", 3.0), ("", 4.0), (7, 5.0)), "ab" * 16),
    ],
)
def test_the_newest_well_formed_exemplar_is_taken(answer: Any, found: str | None) -> None:
    assert parse_newest_trace_id(answer) == found


def test_a_curve_is_broken_where_samples_are_missing() -> None:
    samples = [(0.0, 1.0), (10.0, 1.0), (50.0, 2.0)]
    curve = draw_curve(samples, 0.0, 100.0, 10.0, 50.0)
    assert len(curve.strokes) == 2
    assert curve.strokes[1].startswith(f"{WIDTH / 2:.1f},")
    assert (curve.highest, curve.latest, curve.alert_x) == (2.0, 2.0, WIDTH / 2)
    assert 0 < curve.even_y < HEIGHT


def test_samples_that_are_no_numbers_are_left_out() -> None:
    answer = {"data": {"result": [{"values": [[1, "NaN"], [2, "+Inf"], [3, "0.5"]]}]}}
    assert parse_samples(answer, "values") == [(3.0, 0.5)]
    assert parse_samples({"data": {"result": []}}, "value") == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.000_85, "850 µs"),
        (0.0125, "12.5 ms"),
        (3.2, "3.20 s"),
        (250, "4 min 10 s"),
        (3_600, "1 h"),
        (7_500, "2 h 5 min"),
        (273_600, "3 d 4 h"),
    ],
)
def test_durations_read_at_a_glance(seconds: float, text: str) -> None:
    assert emit_duration(seconds) == text


def settings(**changes: Any) -> Settings:
    return Settings(data=Path("unused"), **changes)


def test_own_links_are_relative_as_long_as_no_public_address_is_known() -> None:
    links = build_links(page(), settings(), own="")
    assert links["runbook"] == "/runbooks/A"
    assert links["dashboard"] == f"/pages/{page().id}#figures"
    assert (links["trace"], links["logs"], links["jaeger"], links["silence"]) == (None, None, None, None)


def test_links_go_where_the_settings_say() -> None:
    where = settings(
        grafana_public_url="https://grafana.example",
        jaeger_public_url="https://jaeger.example",
        alertmanager_public_url="https://am.example",
    )
    links = build_links(replace(page(), trace_id=TRACE), where, own="https://pager.example")
    assert links["trace"] == f"https://pager.example/traces/{TRACE}"
    assert links["jaeger"] == f"https://jaeger.example/trace/{TRACE}"
    assert links["logs"] == f"https://pager.example/logs/{TRACE}?at={NOW:.0f}"
    start = (NOW - 3_600) * 1_000
    assert links["dashboard"] == f"https://grafana.example/d/slo/slo?var-slo=x&from={start:.0f}&to=now"
    assert links["silence"] == "https://am.example/#/silences/new?filter=%7Balertname%3D%22A%22%7D"


def test_a_silence_matches_exactly_the_labels_of_the_alert_however_hostile() -> None:
    where = settings(alertmanager_public_url="https://am.example")
    link = build_links(page(**{"x": 'a"}\\ \n&b=c#', "weird.name": "1"}), where, own="")["silence"]
    assert link is not None
    assert unquote(link.split("filter=")[1]) == '{alertname="A","weird.name"="1",x="a\\"}\\\\ \\n&b=c#"}'
    assert not set(link.split("filter=")[1]) & set('"\\&#=\n ')


@pytest.mark.parametrize("path", ["//evil.example/x", "https://evil.example", "javascript:alert(1)", "", "/\\evil"])
def test_a_dashboard_annotation_cannot_lead_away(path: str) -> None:
    notice = Notice("f", "firing", NOW, None, {"alertname": "A"}, {"dashboard": path})
    one = build_page(notice, NOW)
    assert (
        build_links(one, settings(grafana_public_url="https://g.example"), own="")["dashboard"]
        == f"/pages/{one.id}#figures"
    )


@pytest.mark.parametrize("name", ["../secret", "..", "", "a/b", "a\\b", "/etc/passwd", "A.b", "A\x00", "é", "x" * 101])
def test_a_runbook_name_cannot_leave_its_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "runbooks"
    folder.mkdir()
    (tmp_path / "secret.md").write_text("secret")
    assert read_runbook(folder, name) is None


def test_a_runbook_is_rendered_without_its_raw_html(tmp_path: Path) -> None:
    (tmp_path / "A.md").write_text(
        "# A\n\n<script>alert(1)</script> **bold** [x](javascript:alert(1)) [y](https://e.example)\n\n|a|b|\n|-|-|\n|1|2|\n"
    )
    html = read_runbook(tmp_path, "A")
    assert html is not None
    assert "<script" not in html
    assert 'href="javascript' not in html
    assert "<strong>bold</strong>" in html
    assert '<a href="https://e.example">' in html
    assert "<table>" in html


def test_settings_come_from_the_environment_and_default_to_absence() -> None:
    bare = read_settings({"SIGNALBOX_PAGER_DATA": "/data"})
    assert bare == Settings(data=Path("/data"))
    full = read_settings(
        {
            "SIGNALBOX_PAGER_DATA": "/data",
            "SIGNALBOX_JAEGER_URL": "http://jaeger:16686/",
            "SIGNALBOX_ALERTMANAGER_URL": "http://alertmanager:9093",
            "SIGNALBOX_ALERTMANAGER_PUBLIC_URL": "",
            "SIGNALBOX_PUBLIC_URL": "https://ops.example/pager/",
            "SIGNALBOX_DEADMAN_TIMEOUT_S": "7.5",
        }
    )
    assert full.jaeger_public_url == full.jaeger_url == "http://jaeger:16686"
    assert (full.alertmanager_url, full.alertmanager_public_url) == ("http://alertmanager:9093", "")
    assert full.base_path == "/pager"
    assert full.deadman_timeout_s == 7.5


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SIGNALBOX_PAGER_DATA", ""),
        ("SIGNALBOX_LOKI_URL", "loki:3100"),
        ("SIGNALBOX_PUBLIC_URL", "javascript:alert(1)"),
        ("SIGNALBOX_GRAFANA_URL", "http://"),
        ("SIGNALBOX_JAEGER_URL", "http://[::1"),
        ("SIGNALBOX_PROMETHEUS_URL", "http://p?x=1"),
        ("SIGNALBOX_DEADMAN_TIMEOUT_S", "soon"),
        ("SIGNALBOX_DEADMAN_TIMEOUT_S", "0"),
        ("SIGNALBOX_DEADMAN_TIMEOUT_S", "nan"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings({"SIGNALBOX_PAGER_DATA": "/data"} | {name: value})
    assert name in str(caught.value)


def test_every_query_of_a_runbook_has_a_link_that_asks_it(tmp_path: Path) -> None:
    (tmp_path / "A.md").write_text('```promql\nup{job="<api>"} > 0 & 1\n```\n\n```console\nls\n```\n')
    html = read_runbook(tmp_path, "A", "/pager")
    assert html is not None
    assert html.count("Ask Prometheus now") == 1
    assert 'href="/pager/query?expr=up%7Bjob%3D%22%3Capi%3E%22%7D%20%3E%200%20%26%201"' in html


def test_an_answer_becomes_rows() -> None:
    series = {"metric": {"__name__": "up", "job": "api", "instance": "api-1"}, "value": [1.0, "1"]}
    vector = {"data": {"resultType": "vector", "result": [series]}}
    assert parse_answer(vector) == [Row("up instance=api-1, job=api", "1")]
    assert parse_answer({"data": {"resultType": "scalar", "result": [1.0, "7"]}}) == [Row("", "7")]
    with pytest.raises(BackendError):
        parse_answer({"data": {"resultType": "vector", "result": [{"metric": {}}]}})
    assert build_query_link("", " up\n") == "/query?expr=up"
