"""References of policies to SLOs, by name."""

from __future__ import annotations

from slo.parse.catalogue import Catalogue
from slo.parse.fields import Fields


def promises_named(fields: Fields, key: str, catalogue: Catalogue, *, required: bool) -> tuple[str, ...]:
    """A list of SLOs → the names of their promises, one for each objective. Unknown ones are filed as problems."""
    found = (catalogue.find("SLO", name, fields, key) for name in fields.names_list(key, required=required))
    return tuple(promise.name for promises in found for promise in promises or ())
