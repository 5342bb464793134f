"""A campaign: which runs there are, which are done, and what the table says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from incidents.campaign import Results, errands, parse_seeds, promise_kept, summaries
from incidents.listing import last_verdicts
from incidents.scenario_file import ScenarioFile


def document(fired_after_s: float | None, verdict: str = "held") -> dict[str, Any]:
    alert = {"name": "SomeBurnPage", "tier": "page", "fired_after_s": fired_after_s, "deadline_s": 60.0}
    return {"verdict": verdict, "alert": alert}


def test_every_seed_is_a_round_of_all_incidents_and_their_twins(brief: ScenarioFile) -> None:
    planned = errands([brief], (1, 2), None)
    assert [(one.id, one.seed) for one in planned] == [("brief", 1), ("brief-twin", 1), ("brief", 2), ("brief-twin", 2)]
    assert {one.clock for one in planned} == {20}


def test_what_is_done_is_not_done_again_until_the_scenario_changes(brief: ScenarioFile, tmp_path: Path) -> None:
    path = tmp_path / "results" / "incidents.json"
    first, twin = errands([brief], (1,), None)
    Results(path).add(first, document(12.0), why="", pages=1)
    again = Results(path)
    assert again.has(first)
    assert not again.has(twin)
    changed = replace(brief, text=brief.text + "# another\n")
    assert not again.has(errands([changed], (1,), None)[0])
    assert not Results(path, fresh=True).has(first)


def test_a_run_done_anew_takes_the_place_of_the_old_one(brief: ScenarioFile, tmp_path: Path) -> None:
    results = Results(tmp_path / "incidents.json")
    first = errands([brief], (1,), None)[0]
    results.add(first, document(None, "failed"), why="no page", pages=0)
    results.add(first, document(9.0), why="", pages=1)
    assert [run["verdict"] for run in results.runs] == ["held"]


def test_the_promise_is_kept_only_in_time_every_time_with_silent_twins(brief: ScenarioFile, tmp_path: Path) -> None:
    results = Results(tmp_path / "incidents.json")
    one, twin, two, _ = errands([brief], (1, 2), None)
    results.add(one, document(10.0), why="", pages=1)
    assert not promise_kept(next(summaries(results.runs))), "without a twin nothing is known of silence"
    results.add(twin, document(None), why="", pages=0)
    results.add(two, document(30.0), why="", pages=1)
    row = next(summaries(results.runs))
    assert (row["in_time"], row["runs"], row["median_s"], row["longest_s"]) == (2, 2, 20.0, 30.0)
    assert promise_kept(row)
    results.add(two, document(61.0, "failed"), why="late", pages=1)
    assert not promise_kept(next(summaries(results.runs)))
    results.add(two, document(30.0), why="", pages=1)
    results.add(twin, document(None, "failed"), why="paged", pages=1)
    assert not promise_kept(next(summaries(results.runs)))


def test_a_damaged_file_of_results_is_no_results(tmp_path: Path) -> None:
    path = tmp_path / "incidents.json"
    path.write_text("{")
    assert Results(path).runs == []


def test_the_last_verdict_is_that_of_the_newest_readable_folder(tmp_path: Path) -> None:
    for name, verdict in (("brief-20260101T000000Z", "failed"), ("brief-20260102T000000Z", "held")):
        (tmp_path / name).mkdir()
        text = f'{{"verdict": "{verdict}", "moments": {{"started_at": 1.0}}}}'
        (tmp_path / name / "evidence.json").write_text(text)
    (tmp_path / "brief-twin-20260103T000000Z").mkdir()
    found = last_verdicts(tmp_path, ["brief", "brief-twin"])
    assert {name: one["verdict"] for name, one in found.items()} == {"brief": "held"}


def test_the_table_says_how_often_triage_was_right(brief: ScenarioFile, tmp_path: Path) -> None:
    results = Results(tmp_path / "incidents.json")
    one, twin, two, other_twin = errands([brief], (1, 2), None)
    said = {"truth": None, "said": [], "after_s": 20.0}
    results.add(one, document(10.0), why="", pages=1, triage={**said, "place": 1, "right": True, "in_three": True})
    results.add(two, document(10.0), why="", pages=1, triage={**said, "place": 2, "right": False, "in_three": True})
    results.add(twin, document(None), why="", pages=0, triage={**said, "place": None, "right": True, "in_three": True})
    results.add(other_twin, document(None), why="", pages=0)
    (row,) = results.document()["incidents"]
    assert row["triage"] == {"runs": 2, "first": 1, "in_three": 2, "twins": 1, "twins_silent": 1}


@pytest.mark.parametrize(("text", "seeds"), [("1", [1]), ("3", [1, 2, 3]), ("4-6", [4, 5, 6]), ("7-7", [7])])
def test_seeds_are_a_number_or_a_range(text: str, seeds: list[int]) -> None:
    assert list(parse_seeds(text)) == seeds


@pytest.mark.parametrize("text", ["0", "-3", "6-4", "0-2", "4-", "101", "five", "", "1-2-3"])
def test_other_seeds_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a number of seeds"):
        parse_seeds(text)


def test_a_campaign_that_ran_in_parts_is_put_together(brief: ScenarioFile, tmp_path: Path) -> None:
    one, _, two, _ = errands([brief], (1, 2), None)
    Results(tmp_path / "here.json").add(one, document(12.0), why="", pages=1)
    Results(tmp_path / "there.json").add(two, document(14.0), why="", pages=1)
    both = Results(tmp_path / "here.json", others=[tmp_path / "there.json"])
    assert both.has(one)
    assert both.has(two)
    assert next(summaries(both.runs))["runs"] == 2
    assert not Results(tmp_path / "there.json").has(one), "only the first file is written"
