"""Figures now and before, versions, log templates, windows: what counts as a deviation."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from incidents.observe import BackendError, LogLine
from incidents.scenario_file import FOLDER, observe_scenarios
from incidents.triage.figures import Figure, figure_deviations
from incidents.triage.lines import line_deviations, new_templates
from incidents.triage.observe import BEGAN, observe_windows
from incidents.triage.rules import Detector, Rules
from incidents.triage.versions import Builds, changes, version_deviations
from incidents.triage.windows import Window, build_windows, choose_page, estimate_onset

Labelled = list[tuple[dict[str, str], float]]


def detector(**changed: object) -> Detector:
    document = {
        **{"name": "failing", "component": "{job}", "kind": "errors", "query": "q", "mode": "rises", "floor": 0.05},
        **{"factor": 3, "weight": 0.8, "unit": "ratio", "says": "{now} fail ({before} before)", "reason": "because"},
        **changed,
    }
    return Detector.model_validate({name: value for name, value in document.items() if value is not None})


def deviate(rules: Rules, one: Detector, now: Labelled, before: Labelled) -> list[str]:
    found = figure_deviations([Figure(one, "q", now, before)], rules.topology)
    return [f"{deviation.component}: {deviation.says}" for deviation in found]


@pytest.mark.parametrize(
    ("now", "before", "found"),
    [
        (0.3, 0.0, ["api: 30 % fail (0 % before)"]),
        (0.3, None, ["api: 30 % fail (none before)"]),
        (0.04, 0.0, []),
        (0.3, 0.2, []),
        (float("nan"), 0.0, []),
    ],
)
def test_a_figure_rises_when_it_is_above_its_floor_and_far_above_its_past(
    rules: Rules, now: float, before: float | None, found: list[str]
) -> None:
    labels = {"job": "api"}
    earlier = [] if before is None else [(labels, before)]
    assert deviate(rules, detector(), [(labels, now)], earlier) == found


@pytest.mark.parametrize(
    ("now", "before", "number"), [(0.2, 0.9, 1), (0.0, 0.9, 1), (None, 0.9, 0), (0.7, 0.9, 0), (0.0, 0.1, 0)]
)
def test_a_figure_falls_when_it_was_of_use_and_is_mostly_gone(
    rules: Rules, now: float | None, before: float, number: int
) -> None:
    falls = detector(mode="falls", floor=0.3, factor=0.6)
    present = [] if now is None else [({"job": "api"}, now)]
    assert len(deviate(rules, falls, present, [({"job": "api"}, before)])) == number


def test_a_figure_below_its_limit_needs_no_past(rules: Rules) -> None:
    below = detector(mode="below", factor=None, floor=14, unit="count", component="edge")
    assert deviate(rules, below, [({}, 0.04)], []) == ["edge: 0.04 fail (none before)"]
    assert deviate(rules, below, [({}, 89.0)], [({}, 89.0)]) == []


def test_labels_are_read_as_the_components_they_mean(rules: Rules) -> None:
    pools = detector(component="{db_client_connection_pool_name}")
    labels = {"db_client_connection_pool_name": "replica"}
    assert deviate(rules, pools, [(labels, 0.9)], [])[0].startswith("postgres-replica: ")


def test_what_breaks_things_on_purpose_is_never_named(rules: Rules) -> None:
    assert deviate(rules, detector(), [({"job": "faults"}, 0.9)], []) == []


def test_no_rule_reads_the_switches_of_faults_or_a_scenario(rules: Rules) -> None:
    assert not [one.name for one in rules.detectors if "fault_active" in one.query]
    for path in (Path(__file__).parents[4] / "incidents" / "triage").glob("*.py"):
        assert "fault_active" not in path.read_text(), path.name
        assert "scenario_file" not in path.read_text(), path.name


def test_every_true_cause_of_the_catalogue_is_one_that_triage_can_name(rules: Rules) -> None:
    components = {one for name, needed in rules.topology.needs.items() for one in (name, *needed)}
    for name, source in observe_scenarios(FOLDER).items():
        assert source.scenario.cause.kind in rules.kinds, name
        assert source.scenario.cause.component in components, name


def builds(now: dict[str, float], before: dict[str, float]) -> Builds:
    def samples(by_version: dict[str, float], value: float | None = None) -> Labelled:
        return [
            ({"job": "api", "service_version": version, "revision": ""}, ratio if value is None else value)
            for version, ratio in by_version.items()
        ]

    sides = ({"running": samples(one, 1.0), "failures": samples(one), "seconds": []} for one in (now, before))
    return Builds(*sides, queries={"running": "", "failures": "by version", "seconds": ""})


def test_a_new_version_that_fails_more_than_the_old_one_beside_it_is_a_bad_deploy(rules: Rules) -> None:
    found = version_deviations(builds({"2.3.0": 0.0, "9.9.0": 0.6}, {"2.3.0": 0.0}), rules)
    assert [(one.component, one.kind) for one in found] == [("api", "bad-deploy")]
    assert "9.9.0" in found[0].says


@pytest.mark.parametrize(
    ("now", "before"),
    [
        ({"2.3.0": 0.0, "2.4.0": 0.0}, {"2.3.0": 0.0}),  # a deploy that does no harm
        ({"2.3.0": 0.6, "2.4.0": 0.6}, {"2.3.0": 0.0}),  # both fail: it is not the version
        ({"2.3.0": 0.6}, {"2.3.0": 0.0}),  # no deploy
        ({"2.3.0": 0.6}, {}),  # nobody knows what ran before
    ],
)
def test_a_deploy_that_does_no_harm_of_its_own_is_not_blamed(
    rules: Rules, now: dict[str, float], before: dict[str, float]
) -> None:
    assert version_deviations(builds(now, before), rules) == []


def test_versions_that_came_and_went_are_told() -> None:
    assert changes(builds({"2.4.0": 0.0}, {"2.3.0": 0.0})) == ["api 2.4.0 was deployed", "api 2.3.0 runs no more"]


def line(text: str, service: str = "postgres", **labels: str) -> LogLine:
    return LogLine(0.0, {"service_name": service, "severity_text": "WARN", **labels}, text)


def test_only_what_was_not_said_before_is_new() -> None:
    before = [line(f"2026-11-25 18:00:0{n} UTC [4{n}] LOG: checkpoint complete: wrote {n} buffers") for n in range(5)]
    waits = [line(f"process 12{n} still waiting for ShareLock on transaction 77{n} after 1000.2 ms") for n in range(3)]
    found = new_templates([*before, *waits], before, ratio=1.0)
    assert [(one.service, one.now, one.before) for one in found] == [("postgres", 3, 0)]
    assert "still waiting for ShareLock" in found[0].text


def test_what_a_new_line_says_decides_whose_trouble_it_is(rules: Rules) -> None:
    now = [
        *(line("process 1 still waiting for ShareLock on transaction 7 after 1000 ms") for _ in range(3)),
        *(line(f"retry {n} of 3 after 503", "api") for n in (1, 2, 3)),
        *(line("the certificate of localhost:8291 ends in 1.0 h", "prober") for _ in range(2)),
        *(line("something that nobody has thought of", "api") for _ in range(3)),
    ]
    found = {(one.component, one.kind) for one in line_deviations(new_templates(now, [], 1.0), rules)}
    assert found == {("postgres", "lock-wait"), ("api", "retries"), ("edge", "certificate"), ("api", "errors")}


def test_a_switched_fault_and_the_lines_of_a_stack_are_no_evidence() -> None:
    now = [line("fault.changed", "payments")] * 3 + [line('  File "app.py", line 3, in handler', "api")] * 3
    assert new_templates(now, [], 1.0) == []


def test_of_a_line_in_json_its_message_is_read() -> None:
    now = [line(f'{{"level":"error","ts":{n}.5,"msg":"handled request","status":503}}', "gateway") for n in range(3)]
    assert [one.text for one in new_templates(now, [], 1.0)] == ["handled request <N>"]


def test_lines_of_servers_without_a_severity_count_only_when_they_speak_of_trouble() -> None:
    def plain(text: str) -> LogLine:
        return LogLine(0.0, {"service_name": "postgres"}, text)

    now = [plain("), rows AS (")] * 3 + [plain("FATAL: the database system is shutting down")] * 3
    assert [one.text for one in new_templates(now, [], 1.0)] == ["FATAL: the database system is shutting down"]


def test_the_windows_shrink_with_the_clock_and_leave_the_onset_out_of_the_past() -> None:
    windows = build_windows(20.0, 1000.0)
    assert (windows.now.start, windows.before.end, windows.before.length_s) == (970.0, 940.0, 120.0)
    known = build_windows(20.0, 1000.0, onset_at=980.0)
    assert (known.now.start, known.before.end) == (980.0, 980.0)
    assert build_windows(1.0, 10_000.0).now.length_s == 600.0


def ended(tier: str, starts_at: float, resolved_at: float, slo: str = "checkout") -> dict:
    times = {"starts_at": starts_at, "resolved_at": resolved_at}
    return {
        "tier": tier,
        "slo": slo,
        **{key: f"{datetime.fromtimestamp(at, UTC):%FT%T.%fZ}" for key, at in times.items()},
    }


@pytest.mark.parametrize(
    ("pages", "before"),
    [
        pytest.param([], (880, 1000), id="a quiet past is taken whole"),
        pytest.param([ended("page", 930, 960)], (960, 1000), id="only what came after the trouble"),
        pytest.param([ended("page", 930, 995)], (780, 900), id="too little after it: what came before its onset"),
        pytest.param([ended("page", 930, 995), ended("page", 960, 970)], (780, 900), id="one within another"),
        pytest.param([ended("page", 930, 995), ended("page", 850, 895)], (700, 820), id="one after another"),
        pytest.param([ended("page", 995, 1030)], (845, 965), id="one that ended after the onset"),
        pytest.param([ended("page", 500, 999)], (880, 1000), id="long trouble: nothing calm is near enough"),
        pytest.param([ended("page", 930, 960), ended("page", 1, 970)], (960, 1000), id="one within long trouble"),
        pytest.param([ended("page", 100, 200)], (880, 1000), id="long ago"),
        pytest.param([ended("page", 1040, 1050)], (880, 1000), id="later than the onset"),
        pytest.param([ended("ticket", 930, 995)], (880, 1000), id="the ticket of a budget outlasts its trouble"),
        pytest.param([ended("ticket", 930, 960, slo="")], (960, 1000), id="a ticket about a cause does not"),
    ],
)
def test_the_window_before_holds_nothing_of_earlier_trouble(pages: list[dict], before: tuple[float, float]) -> None:
    windows = build_windows(20.0, 1030.0, onset_at=1000.0, pages=pages)
    assert (windows.before.start, windows.before.end) == before
    assert windows.now.start == 1000.0


@pytest.mark.parametrize(
    ("since", "before"),
    [
        pytest.param(700, (780, 900), id="old enough"),
        pytest.param(850, (850, 900), id="what there was before the trouble"),
        pytest.param(895, (880, 1000), id="too little of it"),
        pytest.param(9999, (880, 1000), id="a clock that is wrong"),
    ],
)
def test_the_window_before_is_not_looked_for_before_anything_was_known(since: float, before: tuple[int, int]) -> None:
    class Prometheus:
        clock = 20.0

        async def query(self, query: str, at: float) -> list[tuple[dict[str, str], float]]:
            assert (query, at) == (BEGAN, 1030.0)
            return [({}, since)]

    asked = observe_windows(Prometheus(), 1030.0, onset_at=1000.0, pages=[ended("page", 930, 995)])  # type: ignore[arg-type]
    windows = asyncio.run(asked)
    assert (windows.before.start, windows.before.end) == before


def test_a_prometheus_that_is_away_hides_only_how_old_the_system_is() -> None:
    class Prometheus:
        clock = 20.0

        async def query(self, query: str, at: float) -> list[tuple[dict[str, str], float]]:
            raise BackendError("away")

    asked = observe_windows(Prometheus(), 1030.0, onset_at=1000.0, pages=[ended("page", 930, 995)])  # type: ignore[arg-type]
    assert asyncio.run(asked).before == Window(780.0, 900.0)


def page(alert: str, state: str, tier: str, starts_at: str) -> dict:
    return {"id": alert.lower(), "alert": alert, "state": state, "tier": tier, "starts_at": starts_at}


PAGES = [
    page("RetryStorm", "firing", "ticket", "2026-11-25T18:00:50Z"),
    page("CheckoutBurn", "firing", "page", "2026-11-25T18:00:40Z"),
    page("Old", "resolved", "page", "2026-11-25T18:00:59Z"),
]


def test_the_newest_open_page_is_chosen_unless_one_is_named() -> None:
    assert choose_page(PAGES, None) is PAGES[1]
    assert choose_page(PAGES, "Old") is PAGES[2]
    assert choose_page(PAGES, "nobody") is None
    assert choose_page(PAGES[2:], None) is None


def test_the_onset_is_a_window_before_the_first_alert_of_the_same_trouble() -> None:
    from incidents.observe import parse_time

    assert estimate_onset(PAGES[0], PAGES, 20.0) == parse_time("2026-11-25T18:00:10Z")
