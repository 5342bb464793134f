"""Scenario files: what is accepted, and how what is refused is explained."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from conftest import SCENARIO
from hypothesis import given, settings
from hypothesis import strategies as st

from incidents.scenario import Threshold, parse_threshold
from incidents.scenario_file import FOLDER, ScenarioErrors, observe_scenarios, parse_scenario

ROOT = Path(__file__).parent.parent.parent.parent


def refusal(text: str, name: str = "brief.yaml") -> list[str]:
    with pytest.raises(ScenarioErrors) as refused:
        parse_scenario(text, Path(name))
    return refused.value.errors


def line_of(text: str, words: str) -> int:
    return 1 + next(number for number, line in enumerate(text.splitlines()) if words in line)


# what is changed in the good scenario → the line that is named, the field, and words of the explanation
REFUSED = [
    ("seeds: {load: 7}", "seeds: {load: 7, data: 1}", "seeds:", "seeds.data", "unknown key"),
    ("story: A short", "stori: A short", "stori:", "stori", "Did you mean 'story'?"),
    (
        "kind: service",
        "kind: earthquake",
        "earthquake",
        "faults[0]",
        "'earthquake' is not known. Use 'service', 'load'",
    ),
    ("    target: payments\n", "", "kind: service", "faults[0].target", "is missing. Add it"),
    ("kind: logs", "kind: smells", "smells", "signals[2]", "'smells' is not known. Use 'promql', 'logs', 'traces'"),
    (
        'kind: promql, query: ratio, wanted: "> 0.1"',
        'query: ratio, wanted: "> 0.1"',
        "orders fail",
        "signals[0]",
        "no kind",
    ),
    ('wanted: "> 0.1"', "wanted: high", "orders fail", "signals[0].wanted", 'Write it like "> 0.05"'),
    ("rate_per_s: 20", "rate_per_s: fast", "fast", "load.steps[0].rate_per_s", "'fast'"),
    ("rate_per_s: 20", "rate_per_s: 0", "rate_per_s", "load.steps[0].rate_per_s", "greater than 0"),
    ("rate_per_s: 20", "rate_per_s: .nan", "rate_per_s", "load.steps[0].rate_per_s", "finite"),
    ("read_product: 1", "reed_product: 1", "mix:", "load.mix.reed_product", "is not known"),
    ("  deadline_s: 1.1", "  deadline_s: -1", "deadline_s: -1", "alert.deadline_s", "greater than 0"),
    ("tier: page", "tier: siren", "siren", "alert.tier", "'siren' is not known"),
    ("runbook: docs/runbooks/", "runbook: /etc/", "runbook:", "runbook", "/etc/"),
    ("action: clear-faults", "action: hope", "hope", "mitigation.action", "Use 'clear-faults'"),
    # impossible timings and contradictions
    (
        "    duration_s: 30",
        "    onset_s: 5\n    duration_s: 30",
        "onset_s",
        "faults[0].onset_s",
        "the alert should have fired",
    ),
    ("  hold_s: 0.2", "  hold_s: 9", "hold_s", "baseline.hold_s", "cannot hold for 9 s within 1.2 s"),
    ("rate_per_s: 20", "rate_per_s: 20\n      for_s: 1", "for_s", "load.steps[0].for_s", "the load ends after 1 s"),
    (
        "    - rate_per_s: 20",
        "    - rate_per_s: 20\n    - rate_per_s: 30",
        "- rate_per_s: 20",
        "load.steps[0]",
        "only the last step may go on without end",
    ),
    ("  resolves_within_s: 0.9", "  resolves_within_s: 4000", "id:", "file", "the limit is 3600 s"),
    (
        "[CatalogueLatency*]",
        "[CheckoutAvailabilityBurnPage]",
        "must_not_fire",
        "must_not_fire",
        "must fire and must not",
    ),
    ("{name: payments complains", "{name: orders fail", "kind: logs", "signals[2].name", "names another signal too"),
    ("id: brief", "id: other", "id:", "id", "Name the file other.yaml"),
    ("id: brief", "id: Brief", "id:", "id", "'Brief'"),
    ("title: Pay", "title: Twice\ntitle: Pay", "title: Twice", "title", "is given twice"),
    ("tier: page", "tier: page\n  tier: page", "tier: page", "alert.tier", "is given twice"),
]


@pytest.mark.parametrize(
    ("old", "new", "line", "field", "words"), REFUSED, ids=[f"{row[3]}: {row[4]}" for row in REFUSED]
)
def test_a_refusal_names_file_line_field_and_remedy(old: str, new: str, line: str, field: str, words: str) -> None:
    text = SCENARIO.replace(old, new, 1)
    assert text != SCENARIO
    errors = refusal(text)
    at = f"brief.yaml:{line_of(text, line)}: {field}: "
    assert any(error.startswith(at) and words in error for error in errors), errors


def test_a_late_signal_deadline_must_lie_after_the_first_fault() -> None:
    text = SCENARIO.replace("    duration_s: 30", "    onset_s: 1\n    duration_s: 30").replace(
        "deadline_s: 1.0, unit: ratio", "deadline_s: 0.5, unit: ratio"
    )
    assert "before the first fault at 1 s" in refusal(text)[0]


def test_more_load_than_anybody_means_is_refused() -> None:
    text = SCENARIO.replace("rate_per_s: 20", "rate_per_s: 2000").replace("within_s: 0.9", "within_s: 1000")
    (error,) = refusal(text)
    assert error.startswith("brief.yaml:8: load.steps: about 2,00")
    assert "the limit is 250,000" in error


def test_the_ending_of_twins_is_reserved() -> None:
    text = SCENARIO.replace("id: brief", "id: brief-twin")
    assert "belongs to the twin" in refusal(text, "brief-twin.yaml")[0]


def test_several_errors_are_told_at_once() -> None:
    text = SCENARIO.replace("tier: page", "tier: siren").replace("action: clear-faults", "action: hope")
    assert len(refusal(text)) == 2


@pytest.mark.parametrize(
    "text", ["", "- a list", "just words", "id: [", "a: 1\n\tb: 2", "!!python/object:os.system {}"]
)
def test_what_is_no_scenario_at_all_is_refused_with_a_line(text: str) -> None:
    (error,) = refusal(text)
    assert error.startswith("brief.yaml:")


DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=60, deadline=None)
@given(DOCUMENTS)
def test_nothing_that_yaml_can_hold_breaks_the_parser(document: object) -> None:
    with pytest.raises(ScenarioErrors):
        parse_scenario(yaml.safe_dump(document), Path("brief.yaml"))


def test_a_folder_of_scenarios_is_read_whole_or_refused_whole(tmp_path: Path) -> None:
    (tmp_path / "brief.yaml").write_text(SCENARIO)
    assert list(observe_scenarios(tmp_path)) == ["brief"]
    (tmp_path / "broken.yaml").write_text("id: broken")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ScenarioErrors) as refused:
        observe_scenarios(tmp_path)
    assert {error.split(":")[0].rpartition("/")[2] for error in refused.value.errors} == {"broken.yaml", "bytes.yaml"}


def test_the_scenarios_that_are_shipped_are_good() -> None:
    found = observe_scenarios(FOLDER)
    assert "downstream-errors" in found
    assert {path.stem for path in FOLDER.iterdir()} == set(found)


def test_every_runbook_that_a_scenario_names_exists() -> None:
    named = {file.scenario.runbook for file in observe_scenarios(FOLDER).values()}
    assert not [runbook for runbook in named if not (ROOT / runbook).exists()]


# Thresholds.


@pytest.mark.parametrize(
    ("text", "fulfilled", "not_fulfilled"),
    [
        ("> 0.05", 0.06, 0.05),
        (">= 1", 1, 0.99),
        ("< 1e-3", 0.0, 0.001),
        ("<= -2", -2, -1),
        ("== 200", 200, 503),
        ("!= 0", 1, 0),
    ],
)
def test_a_threshold_compares(text: str, fulfilled: float, not_fulfilled: float) -> None:
    threshold = parse_threshold(text)
    assert threshold.holds(fulfilled)
    assert not threshold.holds(not_fulfilled)
    assert parse_threshold(str(threshold)) == threshold


def test_nothing_and_nan_fulfil_no_threshold() -> None:
    for comparison in (">", "<", ">=", "<=", "==", "!="):
        assert not Threshold(comparison, 0.0).holds(None)
        assert not Threshold(comparison, 0.0).holds(float("nan"))


def test_of_several_series_the_nearest_counts() -> None:
    values = [0.1, float("nan"), 0.7, 0.0]
    assert parse_threshold("> 0.5").nearest(values) == 0.7
    assert parse_threshold("< 0.5").nearest(values) == 0.0
    assert parse_threshold("== 0.1").nearest(values) == 0.1
    assert parse_threshold("> 0").nearest([float("nan")]) is None


# Clocks.


def test_a_slower_clock_stretches_every_time_and_no_rate_or_parameter() -> None:
    text = SCENARIO.replace("status: 500", "wait_s: 3.0")
    normal = parse_scenario(text, Path("brief.yaml"))
    slow = normal.at_clock(1)

    assert slow.alert.deadline_s == normal.alert.deadline_s * 20
    assert slow.baseline.hold_s == normal.baseline.hold_s * 20
    assert slow.faults[0].duration_s == normal.faults[0].duration_s * 20
    assert [one.deadline_s for one in slow.signals] == [one.deadline_s * 20 for one in normal.signals]
    assert slow.load == normal.load
    assert slow.faults[0].parameters == normal.faults[0].parameters


def test_a_faster_clock_shortens_nothing() -> None:
    normal = parse_scenario(SCENARIO, Path("brief.yaml"))
    assert normal.at_clock(40) == normal == normal.at_clock(20)
