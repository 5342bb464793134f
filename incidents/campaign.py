"""Every incident with several seeds, and every twin: the table of promise 16, run by run.

Owns which runs there are, which are done already, and the table. Refuses to run anything itself. Results are kept after
every run, so that a campaign that was interrupted goes on where it stopped; a scenario whose file has changed begins
anew.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from incidents.scenario import TWIN_SUFFIX
from incidents.scenario_file import ScenarioFile

RESULTS = Path(__file__).parent.parent / "bench" / "results" / "incidents.json"
FORMAT = 1
MOST_SEEDS = 100


@dataclass(frozen=True)
class Errand:
    """One run that belongs to the campaign."""

    source: ScenarioFile
    twin: bool
    seed: int
    clock: float

    @property
    def id(self) -> str:
        return self.source.scenario.id + (TWIN_SUFFIX if self.twin else "")

    def key(self) -> dict[str, Any]:
        """What tells its result from those of other runs and of earlier forms of the scenario."""
        text = hashlib.sha256(self.source.text.encode()).hexdigest()[:16]
        return {"id": self.id, "seed": self.seed, "clock": self.clock, "scenario": text}


class Results:
    """The results so far, in a file. `others` hold the results of other machines or stacks; only `path` is written."""

    def __init__(self, path: Path, *, others: Iterable[Path] = (), fresh: bool = False) -> None:
        self.path = path
        self.runs: list[dict[str, Any]] = [] if fresh else _read(path)
        for other in others:
            self._take(_read(other))

    def has(self, errand: Errand) -> bool:
        """Whether this very run is done."""
        key = errand.key()
        return any(all(run.get(name) == value for name, value in key.items()) for run in self.runs)

    def add(
        self, errand: Errand, document: dict[str, Any], *, why: str, pages: int, triage: dict[str, Any] | None = None
    ) -> None:
        """Note a run, in the place of an earlier one of the same incident and seed, and write everything down."""
        alert = document["alert"]
        run = {
            **errand.key(),
            "verdict": document["verdict"],
            "why": why,
            "alert": alert["name"],
            "tier": alert["tier"],
            "fired_after_s": alert["fired_after_s"],
            "deadline_s": alert["deadline_s"],
            "pages": pages,
            "triage": triage,
        }
        self._take([run])
        self.path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self.path.with_suffix(".new")
        unfinished.write_text(json.dumps(self.document(), indent=1) + "\n")
        unfinished.replace(self.path)

    def _take(self, runs: Iterable[dict[str, Any]]) -> None:
        """Later runs take the place of earlier ones of the same incident, seed and clock."""
        by_place = {(run["id"], run["seed"], run["clock"]): run for run in [*self.runs, *runs]}
        self.runs = sorted(by_place.values(), key=lambda run: (run["seed"], run["id"], run["clock"]))

    def document(self) -> dict[str, Any]:
        """The whole table and the runs behind it."""
        return {"format": FORMAT, "incidents": list(summaries(self.runs)), "runs": self.runs}


def parse_seeds(text: str) -> range:
    """`10`: the seeds 1 to 10. `4-6`: those three. Raises ValueError."""
    found = re.fullmatch(r"(?:(\d+)-)?(\d+)", text)
    seeds = range(int(found[1] or 1), int(found[2]) + 1) if found else range(0)
    if not (seeds and seeds[0] >= 1 and seeds[-1] <= MOST_SEEDS):
        raise ValueError(f"{text!r} is not a number of seeds")
    return seeds


def errands(sources: Iterable[ScenarioFile], seeds: Iterable[int], clock: float | None) -> list[Errand]:
    """Every incident and its twin with each seed: a whole round of one seed before the next."""
    listed = list(sources)
    return [
        Errand(source, twin, seed, clock or source.scenario.clock)
        for seed in seeds
        for source in listed
        for twin in (False, True)
    ]


def summaries(runs: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """One line an incident: how often its alert came in time, how fast, and how often its twin paged."""
    by_id: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        by_id.setdefault(run["id"], []).append(run)
    for name, own in sorted(by_id.items()):
        if name.endswith(TWIN_SUFFIX):
            continue
        twins = by_id.get(name + TWIN_SUFFIX, [])
        fired = [run["fired_after_s"] for run in own if run["fired_after_s"] is not None]
        yield {
            "id": name,
            "alert": own[-1]["alert"],
            "tier": own[-1]["tier"],
            "runs": len(own),
            "in_time": sum(
                one is not None and one <= run["deadline_s"] for run in own for one in [run["fired_after_s"]]
            ),
            "held": sum(run["verdict"] == "held" for run in own),
            "median_s": round(median(fired), 1) if fired else None,
            "longest_s": round(max(fired), 1) if fired else None,
            "deadline_s": own[-1]["deadline_s"],
            "twins": len(twins),
            "twin_pages": sum(run["pages"] for run in twins),
            "twins_held": sum(run["verdict"] == "held" for run in twins),
            "triage": _triage(own, twins),
        }


def _triage(own: list[dict[str, Any]], twins: list[dict[str, Any]]) -> dict[str, int]:
    """How often triage had the true cause first, and within the first three; how often it was silent on twins."""
    said = [run["triage"] for run in own if run.get("triage")]
    silent = [run["triage"] for run in twins if run.get("triage")]
    return {
        "runs": len(said),
        "first": sum(one["right"] for one in said),
        "in_three": sum(one["in_three"] for one in said),
        "twins": len(silent),
        "twins_silent": sum(one["right"] for one in silent),
    }


def promise_kept(summary: Mapping[str, Any]) -> bool:
    """In time every time, and nobody paged by the twin."""
    return bool(summary["in_time"] == summary["runs"] and summary["twins"] and not summary["twin_pages"])


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return list(document["runs"]) if document["format"] == FORMAT else []
    except (OSError, ValueError, KeyError, TypeError):
        return []
