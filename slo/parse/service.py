"""An OpenSLO Service: who keeps promises, and on whom they depend."""

from __future__ import annotations

from collections.abc import Mapping

from slo.errors import Problem
from slo.model import Service
from slo.parse.catalogue import Catalogue, Document
from slo.parse.metadata import read_metadata


def read_service(document: Document, catalogue: Catalogue) -> Service:
    """Read one. Everything but the name may be missing."""
    metadata, spec = read_metadata(document.metadata, kind="Service"), document.spec
    description = spec.text("description", required=False) if spec else ""
    if spec:
        spec.done()
    at = document.metadata.place("annotations")
    return Service(metadata.name, metadata.title, metadata.team, description, metadata.depends_on, at)


def refuse_rings(services: Mapping[str, Service], problems: list[Problem]) -> None:
    """A page for one service silences those that depend on it: in a ring they would all silence one another."""
    field = "metadata.annotations"
    for service in services.values():
        unknown = [name for name in service.depends_on if name not in services]
        if unknown:
            what, remedy = f"depends on {unknown[0]!r}, which is not here", "Add a document of kind Service"
            problems.append(Problem(service.at, field, "reference-unknown", what, remedy))
        elif service.name in _below(service, services):
            what = f"{service.name} depends on itself in the end: its pages would be silenced by its own"
            remedy = "Leave out one of the dependencies of the ring"
            problems.append(Problem(service.at, field, "dependency-ring", what, remedy))


def _below(service: Service, services: Mapping[str, Service]) -> set[str]:
    """The names of everything that a service depends on, however far."""
    found: set[str] = set()
    waiting = list(service.depends_on)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += services[name].depends_on if name in services else ()
    return found
