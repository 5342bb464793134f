"""The JSON Schema for editors agrees with the parser on what is valid and what is broken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from slo.errors import DefinitionErrors
from slo.parse.kinds import KINDS
from slo.parse.tree import parse_definitions
from slo.publish import REPOSITORY
from tests.unit.slo.test_scaling_policies import BUDGET, PROMISE, REFUSALS, SCALING, broken, parse

SCHEMA = REPOSITORY / "slo" / "schema" / "definitions.schema.json"
VALIDATOR = jsonschema.Draft7Validator(json.loads(SCHEMA.read_text()))
FILES = sorted(
    [*(REPOSITORY / "slo" / "definitions").rglob("*.yaml"), *REPOSITORY.glob("tests/golden/*/definitions/*.yaml")]
)
# What needs the other documents or a sum to be seen. The parser alone refuses it.
BEYOND_A_SCHEMA = {
    "reference-unknown",
    "scaling-connections",
    "scaling-bounds",
    "scaling-driver",
    "scaling-flaps",
    "budget-levels",
}
OPENSLO_REFUSALS = [
    ("kind: SLO", "kind: SLOO"),
    ("metadata: {name: shop-answers}", "metadata: {name: Shop}"),
    ("metadata: {name: shop-answers}", "metadata: {}"),
    ("  service: shop\n  ", "  sevice: shop\n  "),
    ("  service: shop\n  ", "  "),
    ("counter: true", "counter: perhaps"),
    ("budgetingMethod: Occurrences", "budgetingMethod: Sometimes"),
    ("timeWindow: [{duration: 30d, isRolling: true}]", "timeWindow: []"),
    ("timeWindow: [{duration: 30d, isRolling: true}]", "timeWindow: [{isRolling: true}]"),
    ("objectives: [{target: 0.999}]", "objectives: []"),
    ("objectives: [{target: 0.999}]", "objectives: [{targt: 0.999}]"),
    ("objectives: [{target: 0.999}]", "objectives: {target: 0.999}"),
]


class Editor(yaml.SafeLoader):
    """YAML 1.2, as editors read it: a date is a text."""


Editor.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def complaints(text: str) -> list[str]:
    return [
        f"{'.'.join(map(str, error.absolute_path))}: {error.message[:200]}"
        for document in yaml.load_all(text, Loader=Editor)
        for error in VALIDATOR.iter_errors(document)
    ]


def test_the_schema_is_one() -> None:
    jsonschema.Draft7Validator.check_schema(VALIDATOR.schema)


def test_it_knows_the_kinds_that_the_parser_knows() -> None:
    offered = {branch["then"]["properties"]["kind"]["const"] for branch in VALIDATOR.schema["allOf"]}
    assert offered == {kind.name for kind in KINDS} == set(VALIDATOR.schema["properties"]["kind"]["enum"])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_definition_there_is_validates(path: Path) -> None:
    assert complaints(path.read_text()) == []


def test_the_examples_validate_and_parse(tmp_path: Path) -> None:
    assert complaints(f"{PROMISE}---\n{SCALING}---\n{BUDGET}") == []
    assert parse(tmp_path, SCALING, BUDGET).scaling


@pytest.mark.parametrize(("definition", "old", "new", "field", "code"), REFUSALS)
def test_what_the_parser_refuses_of_a_policy_the_schema_refuses(
    definition: str, old: str, new: str, field: str, code: str
) -> None:
    if code not in BEYOND_A_SCHEMA:
        assert complaints(broken(definition, old, new))


@pytest.mark.parametrize(("old", "new"), OPENSLO_REFUSALS)
def test_what_is_broken_of_an_slo_is_refused_by_both(tmp_path: Path, old: str, new: str) -> None:
    assert PROMISE.count(old) == 1
    text = PROMISE.replace(old, new)
    assert complaints(text)
    (tmp_path / "slo.yaml").write_text(text)
    with pytest.raises(DefinitionErrors):
        parse_definitions(tmp_path)


def test_every_property_that_the_schema_offers_is_known_to_the_parser(tmp_path: Path) -> None:
    """Of our own kinds, where every field is executed: the schema offers none that the parser calls unknown."""
    for definition, name in ((SCALING, "scalingPolicySpec"), (BUDGET, "budgetPolicySpec")):
        offered = set(VALIDATOR.schema["definitions"][name]["properties"])
        document: dict[str, Any] = yaml.safe_load(definition)
        document["spec"] |= {key: "x" for key in offered - set(document["spec"])}
        with pytest.raises(DefinitionErrors) as caught:
            parse(tmp_path, yaml.safe_dump(document), "a: b")
        assert not [
            problem for problem in caught.value.errors if problem.code == "field-unknown" and "spec" in problem.field
        ]


@pytest.mark.parametrize(
    "path", sorted((REPOSITORY / "slo" / "definitions").glob("*.yaml")), ids=lambda path: path.name
)
def test_every_shipped_file_tells_the_editor(path: Path) -> None:
    first = path.read_text().splitlines()[0]
    found = first.removeprefix("# yaml-language-server: $schema=")
    assert (path.parent / found).resolve() == SCHEMA
