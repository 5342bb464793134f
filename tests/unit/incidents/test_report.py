"""The report: complete, quiet about nothing, and unmoved by hostile text."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from conftest import read_brief
from stand_in import HOSTILE, StandIn

from incidents.plot import Axis, build_plot, emit_offset, emit_value
from incidents.report import emit_link, emit_report, write_bundle
from incidents.scenario_file import ScenarioFile
from incidents.session import Session, made_since

RUNBOOK = (
    f"# An alert\n\n## Meaning\n\nsecret\n\n## Mitigation\n\n1. Roll **payments** back. {HOSTILE}\n\n## After\n\nrest\n"
)


class Seen(HTMLParser):
    """What a browser would make of the page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def evidence_of(system: StandIn, brief: ScenarioFile, out: Path) -> dict[str, Any]:
    outcome = asyncio.run(Session(brief, False, 7, 20.0, system.urls, []).run(out, quiet=True))
    text = Path(outcome.document["report"]).with_name("evidence.json").read_text()
    document: dict[str, Any] = json.loads(text)
    return document


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The evidence of a run of a system that answers with hostile text wherever it can."""
    system = StandIn()
    system.hostile = True
    yield evidence_of(system, read_brief(), tmp_path_factory.mktemp("reports"))
    system.close()


def test_a_report_shows_everything_and_does_nothing(hostile: dict[str, Any]) -> None:
    page = emit_report(hostile, RUNBOOK)
    seen = Seen(page)

    assert not {"script", "img", "iframe", "object", "form", "link"} & set(seen.tags)
    assert not [value for name, value in seen.attributes if name.startswith("on")]
    links = {value for name, value in seen.attributes if name == "href"}
    assert all(link.startswith(("#", "http://127.0.0.1")) for link in links if link), links
    assert not [value for name, value in seen.attributes if name == "src"]
    assert HOSTILE in seen.text, "shown as it came"
    assert "{{ 7*7 }}" in seen.text
    assert "default-src 'none'" in page
    for words in (
        "held",
        "CheckoutAvailabilityBurnPage",
        "97.3%",
        "payments complains",
        "4bf92f3577b34da6a3ce929d0e0e4736",
        "not JSON",
        "The release before is back.",
        "What clients got",
        "charge-errors at payments",
    ):
        assert words in seen.text, words


def test_the_runbook_is_quoted_from_its_mitigation_only(hostile: dict[str, Any]) -> None:
    seen = Seen(emit_report(hostile, RUNBOOK))
    assert "Roll payments back." in seen.text
    assert "secret" not in seen.text
    assert "rest\n" not in seen.text
    assert "could not be read" in Seen(emit_report(hostile, None)).text


def test_a_report_can_be_drawn_again_from_its_evidence_and_the_hashes_are_its_own(
    hostile: dict[str, Any],
) -> None:
    again = json.loads(json.dumps(hostile))
    assert emit_report(again, RUNBOOK) == emit_report(hostile, RUNBOOK)
    assert set(hostile["hashes"]) == {"scenario", "timeline", "pages", "load", "metrics", "trace", "logs", "telling"}
    for name, expected in hostile["hashes"].items():
        canonical = json.dumps(hostile[name], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        assert "sha256:" + hashlib.sha256(canonical.encode()).hexdigest() == expected, name


def test_profiles_made_during_the_run_lie_beside_the_report_and_are_linked(
    hostile: dict[str, Any], tmp_path: Path
) -> None:
    made = tmp_path / "profiles"
    made.mkdir()
    for name, at in (("before.svg", 90), ("api-1.svg", 110), ("notes.txt", 120)):
        (made / name).write_text(f"<svg>{name}</svg>")
        os.utime(made / name, (at, at))
    found = made_since(made, 100.0)
    report = write_bundle(hostile, RUNBOOK, tmp_path / "report", found)
    assert '<a href="api-1.svg">' in report.read_text()
    assert "before.svg" not in report.read_text()
    assert (report.parent / "api-1.svg").read_text() == "<svg>api-1.svg</svg>"
    assert "Flame graphs" not in emit_report(hostile, RUNBOOK)


def test_the_report_says_what_triage_said_and_where_the_truth_stood_in_it(hostile: dict[str, Any]) -> None:
    cause = {"component": "payments", "kind": "errors", "score": 0.9, "evidence": [{"says": f"it fails {HOSTILE}"}]}
    said = {"at": hostile["moments"]["ended_at"], "truth": {"component": "payments", "kind": "errors"}, "place": 1}
    shown = Seen(emit_report({**hostile, "triage": {**said, "document": {"causes": [cause]}}})).text
    assert "the true cause, payments errors, was first" in shown
    assert HOSTILE in shown
    older = {name: part for name, part in hostile.items() if name != "triage"}
    assert "What triage said" not in Seen(emit_report(older)).text


def test_the_timeline_is_in_order_and_begins_before_the_onset(hostile: dict[str, Any]) -> None:
    moments = [event["at"] for event in hostile["timeline"]]
    assert moments == sorted(moments)
    assert hostile["timeline"][0]["phase"] == "baseline"
    named = hostile["moments"]
    assert named["started_at"] < named["onset_at"] < named["paged_at"] < named["mitigated_at"] <= named["recovered_at"]


def test_a_report_of_a_run_that_was_refused_says_why(system: StandIn, brief: ScenarioFile, tmp_path: Path) -> None:
    system.faults["charge-latency"] = {}
    system.pages_after_s = None
    text = Seen(emit_report(evidence_of(system, brief, tmp_path))).text
    assert "Nothing was broken: the run itself: not run: faults are on already" in text
    assert "failed" in text


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("https://a/b", True),
        ("http://a", True),
        ("javascript:alert(1)", False),
        ("data:text/html,x", False),
        (None, False),
        ("//x", False),
    ],
)
def test_only_links_to_pages_are_followed(url: Any, safe: bool) -> None:
    assert bool(emit_link(url)) is safe


# Plots.


def metric(
    *series: list[tuple[float, float | None]], unit: str = "count", threshold: float | None = None
) -> dict[str, Any]:
    return {
        "name": "m",
        "query": "q",
        "unit": unit,
        "threshold": threshold,
        "series": [
            {"labels": {"__name__": "m", "job": "api", "n": str(n)}, "points": points}
            for n, points in enumerate(series)
        ],
    }


AXIS = Axis(start=100.0, end=200.0, zero=150.0)


def test_points_lie_where_they_belong() -> None:
    plot = build_plot(metric([(100, 0.0), (150, 50.0), (200, 100.0)]), AXIS, [], None)
    assert plot.lines[0].path == "M0 100L50 50L100 0"
    assert [tick.label for tick in plot.y_ticks] == ["0", "25", "50", "75", "100"]
    assert [(tick.label, tick.at) for tick in plot.x_ticks][:2] == [("−30 s", 20.0), ("0 s", 50.0)]
    assert (plot.lines[0].peak, plot.lines[0].last) == ("100", "100")


def test_a_gap_in_the_data_is_a_gap_in_the_line() -> None:
    points = [(100.0 + n, 1.0) for n in range(5)] + [(104.5, None)] + [(150.0 + n, 1.0) for n in range(5)]
    assert build_plot(metric(points), AXIS, [], None).lines[0].path.count("M") == 2


@pytest.mark.parametrize(
    "points", [[], [(150.0, None)], [(150.0, 0.0)], [(150.0, -3.0)], [(100.0, 1e-9), (200.0, 1e9)]]
)
def test_every_plot_can_be_drawn(points: list[tuple[float, float | None]]) -> None:
    plot = build_plot(metric(points, threshold=0.0), AXIS, [], None)
    assert all(0 <= tick.at <= 100 for tick in plot.y_ticks)


def test_the_threshold_is_always_in_sight() -> None:
    plot = build_plot(metric([(100, 0.001)], unit="ratio", threshold=0.1), AXIS, [], None)
    assert plot.threshold is not None
    assert (plot.threshold.at, plot.threshold.label) == (100.0, "10 %")


def test_series_are_called_by_what_tells_them_apart_and_the_least_are_left_out() -> None:
    plot = build_plot(metric(*([(100.0, float(n))] for n in range(9))), AXIS, [], None)
    assert [line.name for line in plot.lines] == ["8", "7", "6", "5", "4", "3"]
    assert plot.left_out == 3


def test_labels_of_near_moments_stand_in_rows_of_their_own() -> None:
    marks = AXIS.marks([("onset", 150.0), ("paged", 152.0), ("gone", None), ("recovered", 199.0)], 20.0)
    assert [(mark.name, mark.row, mark.flip) for mark in marks] == [
        ("onset", 0, False),
        ("paged", 1, False),
        ("recovered", 0, True),
    ]
    assert marks[1].label == "paged 2 s"


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.125, "ratio", "12.5 %"),
        (0.08, "s", "80 ms"),
        (2.5, "s", "2.5 s"),
        (3.2, "per s", "3.2 /s"),
        (1200, "count", "1,200"),
    ],
)
def test_values_are_written_as_people_write_them(value: float, unit: str, text: str) -> None:
    assert emit_value(value, unit) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0, "0 s"), (-10, "−10 s"), (12.44, "12.4 s"), (200, "3 min 20 s"), (120, "2 min")]
)
def test_times_are_written_from_onset(seconds: float, text: str) -> None:
    assert emit_offset(seconds) == text
