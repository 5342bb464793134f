"""Lists of words in policies: names of SLOs, and choices among a few."""

from __future__ import annotations

from collections.abc import Iterable

from slo.parse.catalogue import Catalogue
from slo.parse.fields import Fields


def promises_named(fields: Fields, key: str, catalogue: Catalogue, *, required: bool) -> tuple[str, ...]:
    """A list of SLOs → the names of their promises, one for each objective. Unknown ones are filed as problems."""
    found = (catalogue.find("SLO", name, fields, key) for name in fields.listed(key, required=required))
    return tuple(promise.name for promises in found for promise in promises or ())


def choices(fields: Fields, key: str, options: Iterable[str]) -> tuple[str, ...]:
    """A list of a few words. Others are filed as problems."""
    options = tuple(options)
    listed = fields.listed(key)
    for word in listed:
        if word not in options:
            fields.problem(key, "field-form", f"{word[:60]!r} is not known here", f"Use {', '.join(options)}")
    return tuple(word for word in listed if word in options)
