"""An OpenSLO Service: who keeps promises."""

from __future__ import annotations

from slo.model import Service
from slo.parse.catalogue import Catalogue, Document
from slo.parse.metadata import read_metadata


def read_service(document: Document, catalogue: Catalogue) -> Service:
    """Read one. Everything but the name may be missing."""
    metadata, spec = read_metadata(document.metadata), document.spec
    description = spec.text("description", required=False) if spec else ""
    if spec:
        spec.done()
    return Service(metadata.name, metadata.title, metadata.team, description)
