"""An OpenSLO DataSource: the Prometheus that counts, named once for many indicators.

Owns that there is one. Rules are evaluated inside a Prometheus, so all definitions of a folder must mean the same one,
and nobody needs credentials for it.
"""

from __future__ import annotations

from dataclasses import dataclass

from slo.parse.catalogue import Catalogue, Document
from slo.parse.metadata import read_metadata

TYPES = ("Prometheus", "prometheus")


@dataclass(frozen=True)
class DataSource:
    """A Prometheus and where it is, if that was said."""

    name: str
    url: str


def read_data_source(document: Document, catalogue: Catalogue) -> DataSource | None:
    """Read one; None when a problem was filed."""
    before = len(catalogue.problems)
    read_metadata(document.metadata)
    spec = document.spec
    if spec is None:
        return None
    spec.text("description", required=False)
    spec.choice("type", TYPES)
    url = ""
    details = spec.mapping("connectionDetails", required=False)
    if details:
        url = details.text("url", required=False)
        for key in details.names():
            if key != "url":
                what = "nothing connects with it: the rules are evaluated inside this Prometheus"
                details.refuse(key, what, "Remove it, and keep secrets out of definitions")
        details.done()
        others = [other for other in catalogue.of("DataSource").values() if url and other.url not in ("", url)]
        if others:
            what = f"is another Prometheus than {others[0].name!r} means, and rules are evaluated by one"
            details.problem(
                "url", "not-executable", what, "Compile the SLOs of each Prometheus from a folder of its own"
            )
    spec.done()
    return DataSource(document.name, url) if len(catalogue.problems) == before else None
