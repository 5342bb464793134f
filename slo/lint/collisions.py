"""Rules beside other rules: one series recorded twice, one alert name for two things, labels that overwrite.

Owns the comparison of rules in Prometheus' own file format, ours and other people's. Refuses to know promises.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from slo.errors import Location, Problem

_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_GROUPED = re.compile(r"\bby\s*\(([^)]*)\)")
LARGEST_FILE = 32 * 1024**2  # the rules of 2,000 SLOs
_RESERVED = {"__name__", "alertname", "alertstate"}
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class FoundRule:
    """A recording or alert rule with the file it stands in."""

    file: str
    kind: str  # record or alert
    name: str
    labels: tuple[tuple[str, str], ...]
    expression: str


def read_rules(text: str, file: str) -> list[FoundRule]:
    """Every rule of a rule file. Raises ValueError when it is none."""
    if len(text) > LARGEST_FILE:
        raise ValueError(f"{file} has more than {LARGEST_FILE // 1024**2} MiB and is not read")
    try:
        document = yaml.load(text, Loader=_LOADER)
        return [_read_rule(rule, file) for group in document["groups"] or () for rule in group.get("rules") or ()]
    except (yaml.YAMLError, TypeError, KeyError, AttributeError, RecursionError):
        raise ValueError(f"{file} is no rule file of Prometheus (groups: with rules:)") from None


def read_rule_files(paths: Iterable[Path]) -> list[FoundRule]:
    """The rules of files, and of all *.yaml and *.yml below folders. Raises ValueError or OSError."""
    found = []
    for path in paths:
        files = (
            sorted(each for each in path.rglob("*") if each.suffix in (".yaml", ".yml")) if path.is_dir() else [path]
        )
        for file in files:
            with file.open(encoding="utf-8", errors="replace") as text:
                found += read_rules(text.read(LARGEST_FILE + 1), str(file))
    return found


def lint_rules(ours: list[FoundRule], others: list[FoundRule]) -> list[Problem]:
    """Collisions in which one of our rules takes part, each told once, at the place of ours."""
    return sorted({*_taken(ours, others), *_overwriting(ours)})


def _taken(ours: list[FoundRule], others: list[FoundRule]) -> Iterator[Problem]:
    first: dict[tuple[str, str, tuple[tuple[str, str], ...]], FoundRule] = {}
    for rule in [*others, *ours]:
        labels = (
            rule.labels
            if rule.kind == "record"
            else tuple(pair for pair in rule.labels if pair[0] in ("service", "slo"))
        )
        other = first.setdefault((rule.kind, rule.name, labels), rule)
        if other is not rule and rule in ours:
            where = f" in {other.file}" if other.file != rule.file else ""
            what = f"{rule.kind} {rule.name}{_shown(labels)} is there already{where}"
            yield Problem(Location(rule.file), rule.name, f"{rule.kind}-collides", what, "Rename one of the two")


def _overwriting(ours: list[FoundRule]) -> Iterator[Problem]:
    for rule in ours:
        returned = {label.strip() for labels in _GROUPED.findall(rule.expression) for label in labels.split(",")}
        for label, _ in rule.labels:
            if not _LABEL.fullmatch(label) or label.startswith("__") or label in _RESERVED:
                what = f"the label {label[:60]!r} is reserved, or no label name"
                yield Problem(Location(rule.file), rule.name, "label-collides", what, "Rename it")
            elif label in returned:
                what = f"the label {label!r} overwrites the one that the expression returns"
                yield Problem(Location(rule.file), rule.name, "label-collides", what, "Rename one of the two")


def _read_rule(rule: dict[str, Any], file: str) -> FoundRule:
    kind = "record" if "record" in rule else "alert"
    labels = tuple(sorted((str(key), str(value)) for key, value in (rule.get("labels") or {}).items()))
    return FoundRule(file, kind, str(rule[kind]), labels, str(rule.get("expr", "")))


def _shown(labels: tuple[tuple[str, str], ...]) -> str:
    return f"{{{', '.join(f'{key}={value}' for key, value in labels)}}}" if labels else ""
