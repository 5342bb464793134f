"""A BudgetPolicy document → model.

Owns its fields and their forms.
"""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from typing import cast, get_args

from slo.budget import Action, BudgetPolicy, Exemption, Level, State
from slo.parse.catalogue import Catalogue, Document
from slo.parse.fields import Fields, parse_number
from slo.parse.metadata import read_metadata
from slo.parse.references import choices, promises_named


def read_budget_policy(document: Document, catalogue: Catalogue) -> BudgetPolicy | None:
    """Read one document; None when a problem was filed."""
    spec = document.spec
    if spec is None:
        return None
    before = len(catalogue.problems)
    metadata = read_metadata(document.metadata)
    description = spec.text("description", required=False)
    promises = promises_named(spec, "slos", catalogue, required=False)
    levels = _read_levels(spec)
    while_paging = spec.choice("whilePaging", get_args(Action), default="freeze")
    exemptions = _read_exemptions(spec)
    spec.done()
    if len(catalogue.problems) > before:
        return None
    return BudgetPolicy(
        name=metadata.name,
        title=metadata.title,
        description=description,
        promises=promises,
        levels=levels,
        while_paging=cast(Action, while_paging),
        exemptions=exemptions,
        at=document.metadata.place("name"),
    )


def _read_levels(spec: Fields) -> tuple[Level, ...]:
    levels: dict[Decimal, Level] = {}
    listed = spec.mappings("levels")
    if not listed and spec.has("levels"):
        spec.problem("levels", "field-missing", "no level", "Say what happens when no budget is left")
    for fields in listed:
        limit = fields.parsed("remainingAtMost", _parse_remaining)
        action = cast(Action | None, fields.choice("action", get_args(Action)))
        fields.done()
        if limit is None or action is None:
            continue
        if limit in levels:
            fields.problem("remainingAtMost", "budget-levels", f"{limit} stands here a second time", "Remove one")
        levels[limit] = Level(limit, action)
    ordered = tuple(levels[limit] for limit in sorted(levels))
    actions = get_args(Action)
    for lower, higher in pairwise(ordered):
        if actions.index(lower.action) < actions.index(higher.action):
            what = (
                f"{higher.action} at {higher.remaining_at_most}, and only {lower.action} at {lower.remaining_at_most}: "
                "less budget would allow more"
            )
            spec.problem("levels", "budget-levels", what, "Make the lower level the stricter one")
    return ordered


def _read_exemptions(spec: Fields) -> tuple[Exemption, ...]:
    found: dict[str, Exemption] = {}
    for fields in spec.mappings("exceptions", required=False):
        name, description = fields.name("name"), fields.text("description")
        overrides = choices(fields, "overrides", [state for state in get_args(State) if state != "allow"])
        fields.done()
        if name in found:
            fields.problem("name", "name-taken", f"the exception {name!r} stands here a second time", "Rename one")
        found[name] = Exemption(name, description, tuple(cast(State, state) for state in overrides))
    return tuple(found.values())


def _parse_remaining(text: str) -> Decimal:
    number = parse_number(text)
    if not 0 <= number < 1:
        raise ValueError(f"{text!r} is not a share of the budget; write a ratio from 0 up to, not including, 1")
    return number
