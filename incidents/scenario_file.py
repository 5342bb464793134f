"""Scenario files: YAML text → Scenario, every refusal with file, line, field and remedy.

Owns reading the folder of scenarios and placing errors in their text. Refuses to know what a scenario means.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from incidents.contradictions import contradictions
from incidents.scenario import Scenario, known_keys

FOLDER = Path(__file__).parent / "scenarios"
_TAGS = ("promql", "http", "logs", "traces", "service", "load")


class ScenarioErrors(Exception):
    """A scenario file that cannot be used; `errors` are lines of the form `file:line: field: what. remedy`."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__("\n".join(errors))
        self.errors = errors


@dataclass(frozen=True)
class ScenarioFile:
    """A scenario with the text it was read from."""

    scenario: Scenario
    path: Path
    text: str


@dataclass(frozen=True)
class Entry:
    """A scenario or its twin, as a person names it."""

    source: ScenarioFile
    twin: bool


def observe_scenarios(folder: Path) -> dict[str, ScenarioFile]:
    """Every scenario of `folder` by id. Raises ScenarioErrors with the errors of all files."""
    found: dict[str, ScenarioFile] = {}
    errors: list[str] = []
    for path in sorted(folder.glob("*.yaml")):
        try:
            text = path.read_text(encoding="utf-8")
            found[path.stem] = ScenarioFile(parse_scenario(text, path), path, text)
        except ScenarioErrors as refused:
            errors += refused.errors
        except (OSError, UnicodeDecodeError) as unreadable:
            errors.append(f"{path}:1: file: {unreadable}. Make it readable UTF-8 text")
    if errors:
        raise ScenarioErrors(errors)
    return found


def parse_scenario(text: str, path: Path) -> Scenario:
    """YAML → Scenario. Raises ScenarioErrors that name file, line, field and remedy."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        what = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ScenarioErrors([f"{path}:{mark.line + 1 if mark else 1}: YAML: {what}. Correct the syntax"]) from None
    if node is None or not isinstance(document, dict):
        raise ScenarioErrors([f"{path}:1: file: not a mapping. Begin with `id: {path.stem}`"])

    def located(place: tuple[Any, ...], what: str) -> str:
        return f"{path}:{_line(node, place)}: {_field(place)}: {what}"

    problems = [located(place, f"{place[-1]!r} is given twice. Remove one") for place in _duplicates(node, ())]
    if problems:
        raise ScenarioErrors(problems)
    try:
        scenario = Scenario.model_validate(document)
    except ValidationError as refused:
        raise ScenarioErrors([located(error["loc"], _describe(error)) for error in refused.errors()]) from None
    problems = [located(place, what) for place, what in contradictions(scenario)]
    if scenario.id != path.stem:
        problems.append(located(("id",), f"{scenario.id!r} is not the file's name. Name the file {scenario.id}.yaml"))
    if problems:
        raise ScenarioErrors(problems)
    return scenario


def _line(node: yaml.Node, place: tuple[Any, ...]) -> int:
    """The line of the deepest node on the way to `place` that exists, counted from 1."""
    line: int = node.start_mark.line
    for name in place:
        if isinstance(node, yaml.MappingNode):
            pair = next((pair for pair in node.value if pair[0].value == str(name)), None)
            if pair is None:
                continue  # a key that is missing, or the tag of a union
            line, node = pair[0].start_mark.line, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(name, int) and name < len(node.value):
            node = node.value[name]
            line = node.start_mark.line
    return line + 1


def _field(place: tuple[Any, ...]) -> str:
    """`signals[0].query`: the path without the tags of unions, which the file does not have."""
    text = ""
    for position, name in enumerate(place):
        in_union = position > 0 and isinstance(place[position - 1], int) and position < len(place) - 1
        if isinstance(name, int):
            text += f"[{name}]"
        elif name != "[key]" and not (in_union and name in _TAGS):
            text += f".{name}" if text else name
    return text or "file"


def _duplicates(node: yaml.Node, place: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    """Keys given twice, which YAML loaders resolve in silence by forgetting the first."""
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                yield (*place, key.value)
            seen.add(key.value)
            yield from _duplicates(value, (*place, key.value))
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            yield from _duplicates(value, (*place, number))


def _describe(error: Any) -> str:
    """A pydantic error as `what. remedy`."""
    kind, context = error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(str(error["loc"][-1]), known_keys(), n=1)
        return f"unknown key. {f'Did you mean {near[0]!r}?' if near else 'Remove it (docs/incidents.md has the keys)'}"
    if kind == "missing":
        return "is missing. Add it (docs/incidents.md shows the form)"
    if kind in ("literal_error", "union_tag_invalid"):
        known = context.get("expected") or context.get("expected_tags")
        given = context.get("tag", error.get("input"))
        return f"{given!r} is not known. Use {known}"
    if kind == "union_tag_not_found":
        return "has no kind. Add `kind:` promql, traces, logs or http"
    if kind == "value_error":
        return str(context["error"])
    return f"{error['msg']}, but it is {error.get('input')!r:.60}. Correct it"
