"""An OpenSLO document made of somebody else's SLO, and the notes on what it could not hold.

Owns names that are safe for us and the documents' text. Refuses to know the formats that it comes from.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from slo.emit.yaml_text import emit_yaml
from slo.errors import Location, Problem
from slo.parse.fields import Fields

LONGEST_NAME = 63
TEAM_LABELS = ("team", "owner", "squad", "pyrra.dev/team")
NOT_CARRIED = "not-carried"
NOT_CONVERTIBLE = "not-convertible"
HEAD = "# Made by `signalbox slo import`. From here on it is yours.\n"


@dataclass(frozen=True)
class Defaults:
    """What the other format does not say."""

    team: str = ""
    service: str = ""
    window: str = "30d"


@dataclass
class Adopted:
    """Everything that was read: documents by kind and name, and what is to be said about it."""

    services: dict[str, str] = field(default_factory=dict)  # name → team
    slos: dict[str, dict[str, Any]] = field(default_factory=dict)
    places: dict[str, Location] = field(default_factory=dict)  # of SLOs, where they came from
    problems: list[Problem] = field(default_factory=list)

    def add_slo(
        self, name: str, service: str, team: str, *, target_percent: Any, window: str, indicator: dict[str, Any],
        labels: dict[str, str], at: Location, description: str = "", threshold: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        """Take one SLO along, which was written at a place."""
        self.places[name] = at
        self.services.setdefault(service, team)
        metadata: dict[str, Any] = {"name": name, "labels": {**labels, "team": team}}
        self.slos[name] = {
            "apiVersion": "openslo/v1",
            "kind": "SLO",
            "metadata": metadata,
            "spec": {
                **({"description": description} if description else {}),
                "service": service,
                "indicator": {"metadata": {"name": _cut(f"{name}-sli")}, "spec": indicator},
                "timeWindow": [{"duration": window, "isRolling": True}],
                "budgetingMethod": "Occurrences",
                "objectives": [{"targetPercent": target_percent, **(threshold or {})}],
            },
        }

    def files(self) -> dict[str, str]:
        """File name → text: the services in one, every SLO in its own."""
        services = [
            {"apiVersion": "openslo/v1", "kind": "Service", "metadata": {"name": name, "labels": {"team": team}}}
            for name, team in sorted(self.services.items())
        ]
        texts = {f"{name}.yaml": emit_yaml(document, HEAD) for name, document in sorted(self.slos.items())}
        return {"services.yaml": join_documents(services), **texts} if services else texts


def join_documents(documents: Iterable[dict[str, Any]]) -> str:
    """Several documents as one file."""
    return HEAD + "---\n".join(emit_yaml(document, "") for document in documents)


def counters(total: str, **counted: str) -> dict[str, Any]:
    """An indicator of two counters; `good=` or `bad=` names the one that is counted."""
    ratio: dict[str, Any] = {"counter": True}
    ratio.update({role: _source(query) for role, query in counted.items()})
    return {"ratioMetric": {**ratio, "total": _source(total)}}


def ready_made(query: str, means: str) -> dict[str, Any]:
    """An indicator that somebody else computes."""
    return {"ratioMetric": {"counter": False, "raw": _source(query), "rawType": means}}


def measured(query: str) -> dict[str, Any]:
    """An indicator that is compared with a threshold."""
    return {"thresholdMetric": _source(query)}


def _source(query: str) -> dict[str, Any]:
    return {"metricSource": {"type": "Prometheus", "spec": {"query": query}}}


def safe_name(text: str) -> str:
    """A name that labels, files and alerts can bear."""
    letters = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    return _cut(letters if letters[:1].isalpha() else f"slo-{letters}")


def _cut(name: str) -> str:
    return name[:LONGEST_NAME].rstrip("-")


def labels_of(fields: Fields, key: str = "labels") -> dict[str, str]:
    """A mapping of texts."""
    inner = fields.mapping(key, required=False)
    return {name: inner.text(name, required=False) for name in inner.names()} if inner else {}


def note_labels(fields: Fields, labels: dict[str, str]) -> None:
    """A note on labels that the other tool puts on series and alerts; here they stay in the document."""
    if others := [label for label in labels if label not in TEAM_LABELS]:
        what = f"{', '.join(others)[:80]} stay in the document, and are not on series and alerts"
        fields.problem("labels", NOT_CARRIED, what, "Match team, service, slo and tier in routes and dashboards")


def team_of(labels: dict[str, str], fields: Fields, defaults: Defaults, service: str) -> str:
    """Who owns it: a label that says so, what the command line says, or a note and the service's own name."""
    for key in TEAM_LABELS:
        if labels.get(key):
            return labels[key]
    if defaults.team:
        return defaults.team
    fields.problem("labels", NOT_CARRIED, f"nobody owns it, {service} stands in", "Name somebody with --team")
    return service


def unread(fields: Fields | None, remedies: dict[str, str]) -> None:
    """A note on every field of a mapping that is there and has no counterpart."""
    if fields is None:
        return
    for key, remedy in remedies.items():
        fields.leave(key, NOT_CARRIED, "has no counterpart here", remedy)
