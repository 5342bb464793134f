"""The findings of `slo lint`: number, name, severity, and what each means.

Owns reading `rules.yaml`, which holds the texts. Problems carry the name; the number is for people and dashboards.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import yaml

from slo.errors import Problem

Severity = Literal["error", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")
SHIPPED = Path(__file__).resolve().parent / "rules.yaml"


@dataclass(frozen=True)
class Rule:
    """One kind of finding."""

    code: str
    name: str
    severity: Severity
    why: str
    remedy: str


@cache
def rules() -> Mapping[str, Rule]:
    """Every rule by its name."""
    return {entry["name"]: Rule(**entry) for entry in yaml.safe_load(SHIPPED.read_text())}


def rule_of(problem: Problem) -> Rule:
    """The rule that a problem names; what the catalogue does not know is an error of that name."""
    return rules().get(problem.code) or Rule("", problem.code, "error", problem.what, problem.remedy)


def find_rule(word: str) -> Rule | None:
    """The rule with that number (in any case) or name."""
    by_code = {rule.code: rule for rule in rules().values()}
    return by_code.get(word.upper()) or rules().get(word.lower())


def by_urgency(problems: Iterable[Problem]) -> list[tuple[Rule, Problem]]:
    """Problems with their rules, errors first, then by place."""
    found = [(rule_of(problem), problem) for problem in set(problems)]
    return sorted(found, key=lambda pair: (SEVERITIES.index(pair[0].severity), pair[1]))
