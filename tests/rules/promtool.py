"""Running promtool on generated rules and scenarios, several at a time."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import yaml

from slo.emit.prometheus import emit_rules
from slo.emit.promtool import RuleTests, emit_rule_tests, rule_tests
from slo.emit.yaml_text import emit_yaml
from slo.model import Promise
from slo.parse.tree import parse_tree
from tests.conftest import ROOT

# A quarter of promtool's time otherwise; a run needs about 200 MiB.
LESS_GARBAGE_COLLECTION = {"GOGC": "off", "GOMEMLIMIT": "512MiB"}
NAME = re.compile(r"slo:\w+:\w+|(?<=alertname=\")\w+")
PROMISES = parse_tree(ROOT / "slo" / "definitions")
LIBRARY = parse_tree(ROOT / "tests" / "golden" / "library" / "definitions")
LONGEST_OF_A_KIND = timedelta(hours=6)
OF_DAYS = timedelta(minutes=5)  # scenarios that are evaluated this coarsely last days
Outcome = subprocess.CompletedProcess[str]


@dataclass(frozen=True)
class Case:
    """One scenario of one promise."""

    promise: Promise
    tests: RuleTests

    def __str__(self) -> str:
        return f"{self.promise.name}: {self.tests.scenarios[0].name}"


def cases() -> list[Case]:
    """Every scenario of every promise, those of a stranger's promise over 28 days, and of one promise of each kind.

    Scenarios of days take seconds each. Promises with one objective have the same rules but for names (which a test
    here checks), so these run for the first promise of each objective only.
    """
    stranger = next(promise for promise in LIBRARY if promise.name == "loans-recorded-aimed-at")
    found, objectives = [], set()
    for promise in LIBRARY:
        if promise.service.name == "reading-room":
            for tests in rule_tests(promise):
                short = (scenario for scenario in tests.scenarios if scenario.length <= LONGEST_OF_A_KIND)
                found += [Case(promise, replace(tests, scenarios=(scenario,))) for scenario in short]
    for promise in (*PROMISES, stranger):
        for tests in rule_tests(promise):
            if tests.evaluation < OF_DAYS or promise.objective not in objectives:
                found += [Case(promise, replace(tests, scenarios=(scenario,))) for scenario in tests.scenarios]
        objectives.add(promise.objective)
    return found


class Promtool:
    """The tool, and the outcomes of runs that were asked for."""

    def __init__(self, executable: Path, folder: Path) -> None:
        self._executable = executable
        self._folder = folder
        self._pool = ThreadPoolExecutor(max_workers=os.cpu_count() or 2)
        self._number = count()
        self._running: dict[str, Future[Outcome]] = {}

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def run(self, *arguments: str, cwd: Path | None = None) -> Outcome:
        """Run the tool in its folder or another one."""
        return subprocess.run(
            [str(self._executable), *arguments],
            cwd=cwd or self._folder,
            env={**os.environ, **LESS_GARBAGE_COLLECTION},
            capture_output=True,
            text=True,
            timeout=170,
            check=False,
        )

    def test(self, folder: Path, tests: list[dict[str, Any]], evaluation: str, *rule_files: str) -> Outcome:
        """Run tests in promtool's own form against rule files of a folder. Their groups are evaluated in their order:
        promtool draws lots where a test does not name one."""
        groups = [group for file in rule_files for group in yaml.safe_load((folder / file).read_text())["groups"]]
        document = {
            "rule_files": list(rule_files),
            "group_eval_order": [group["name"] for group in groups],
            "evaluation_interval": evaluation,
            "tests": tests,
        }
        (folder / "test.yaml").write_text(yaml.safe_dump(document))
        return self.run("test", "rules", "test.yaml", cwd=folder)

    def begin(self, name: str, case: Case, clock: float = 1.0, mutate: Callable[[str], str] = str) -> None:
        """Start a run in the background."""
        self._running[name] = self._pool.submit(self.judge, case, clock, mutate)

    def outcome(self, name: str) -> Outcome:
        """Wait for a run that was begun."""
        return self._running[name].result()

    def judge(self, case: Case, clock: float = 1.0, mutate: Callable[[str], str] = str) -> Outcome:
        """Run one scenario against the rules of its promise, which may be changed first."""
        number = next(self._number)
        rules = self._folder / f"{number}.rules.yaml"
        rules.write_text(mutate(rules_for(case, clock)))
        test = self._folder / f"{number}.test.yaml"
        test.write_text(emit_rule_tests(case.tests, case.promise, [rules.name], clock))
        return self.run("test", "rules", test.name)


def rules_for(case: Case, clock: float = 1.0) -> str:
    """The generated rules that the checks of a scenario depend on, in their order. The others would cost most time."""
    document: dict[str, Any] = yaml.safe_load(emit_rules([case.promise.at_clock(clock)]))
    needed = set(NAME.findall(" ".join(query for _, query, _ in case.tests.scenarios[0].checks)))
    for group in reversed(document["groups"]):
        kept: list[dict[str, Any]] = []
        for rule in reversed(group["rules"]):
            if (rule.get("record") or rule["alert"]) in needed:
                needed |= set(NAME.findall(rule["expr"]))
                kept.insert(0, rule)
        group["rules"] = kept
    document["groups"] = [group for group in document["groups"] if group["rules"]]
    return emit_yaml(document)
