"""OpenSLO v1 documents → promises.

Owns what of OpenSLO is executed (Service, SLI, SLO with a rolling window, Occurrences, ratios of counters, any number
of objectives), how documents refer to one another, and the refusal of all the rest by name. Refuses to know what is
made of a promise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import cast, get_args

from slo.durations import parse_duration
from slo.errors import Location, Problem
from slo.model import Liveness, Promise, RatioIndicator, Service, Severity, WindowTable
from slo.parse.fields import Fields
from slo.parse.indicator import read_indicator
from slo.parse.metadata import read_metadata
from slo.parse.nodes import Mapping, Node
from slo.parse.objective import read_objective

API_VERSION = "openslo/v1"
EXECUTED_KINDS = ("SLO", "SLI", "Service")
REFUSED_KINDS = {
    "DataSource": "Write `type: Prometheus` and the query into each metricSource",
    "AlertPolicy": "Remove it: every SLO gets the burn-rate alerts of its windows table",
    "AlertCondition": "Remove it: tiers and burn factors are data in slo/windows/",
    "AlertNotificationTarget": "Remove it: alerts are routed by their tier label",
}


class Catalogue:
    """All documents of a tree while they are read: first the things that others refer to, then the SLOs."""

    def __init__(self, table_for: Callable[[timedelta], WindowTable]) -> None:
        self.problems: list[Problem] = []
        self._table_for = table_for
        self._services: dict[str, Service] = {}
        self._indicators: dict[str, RatioIndicator | None] = {}
        self._names: dict[tuple[str, str], Location] = {}
        self._slos: list[tuple[Fields, Fields]] = []

    def add(self, document: Node) -> None:
        """Take one document of any kind."""
        if not isinstance(document, Mapping):
            what = "not an OpenSLO document"
            remedy = "Write apiVersion, kind, metadata and spec"
            self.problems.append(Problem(document.at, "", "field-form", what, remedy))
            return
        fields = Fields(document, "", self.problems)
        if fields.choice("apiVersion", [API_VERSION]) is None:
            return
        kind = fields.choice("kind", [*EXECUTED_KINDS, *REFUSED_KINDS])
        if kind in REFUSED_KINDS:
            fields.problem("kind", "not-executable", f"{kind} is not executed", REFUSED_KINDS[kind])
        if kind not in EXECUTED_KINDS:
            return
        metadata, spec = fields.mapping("metadata"), fields.mapping("spec", required=kind != "Service")
        fields.done()
        name = metadata.name("name") if metadata else ""
        if metadata is None or not name or not self._is_new(kind, name, metadata):
            return
        if kind == "Service":
            self._add_service(metadata, spec)
        elif spec is not None and kind == "SLI":
            self._indicators[name] = read_indicator(metadata, spec)
        elif spec is not None:
            self._slos.append((metadata, spec))

    def promises(self) -> list[Promise]:
        """Resolve the references. Complete only if there are no problems."""
        found = [promise for metadata, spec in self._slos for promise in self._read_slo(metadata, spec)]
        self._refuse_shared_names(found)
        return sorted(found, key=lambda promise: promise.name)

    def _is_new(self, kind: str, name: str, metadata: Fields) -> bool:
        here = metadata.place("name")
        first = self._names.setdefault((kind, name), here)
        if first != here:
            metadata.problem("name", "name-taken", f"{kind} {name!r} is already at {first}", "Choose another name")
        return first == here

    def _add_service(self, fields: Fields, spec: Fields | None) -> None:
        metadata = read_metadata(fields)
        description = spec.text("description", required=False) if spec else ""
        if spec:
            spec.done()
        self._services[metadata.name] = Service(metadata.name, metadata.title, metadata.team, description)

    def _read_slo(self, fields: Fields, spec: Fields) -> list[Promise]:
        before = len(self.problems)
        metadata = read_metadata(fields, annotated=True)
        service = self._find_service(spec)
        team = metadata.team or (service.team if service else "")
        if service and not team:
            remedy = "Add a label `team` to the SLO or to its Service: somebody must get the page"
            fields.problem("labels", "field-missing", "nobody owns this promise", remedy)
        indicator = self._find_indicator(spec)
        windows = self._read_windows(spec)
        method = spec.choice("budgetingMethod", ["Occurrences", "Timeslices", "RatioTimeslices"])
        if method in ("Timeslices", "RatioTimeslices"):
            spec.problem("budgetingMethod", "not-executable", f"{method} is not executed", "Use Occurrences")
        spec.refuse("alertPolicies", "alert policies are not executed", REFUSED_KINDS["AlertPolicy"])
        listed = spec.mappings("objectives")
        if not listed and spec.has("objectives"):
            spec.problem("objectives", "field-missing", "promises nothing", "Add an objective with a target")
        objectives = [read_objective(each, several=len(listed) > 1) for each in listed]
        description = spec.text("description", required=False)
        spec.done()
        if len(self.problems) > before or service is None or indicator is None or windows is None:
            return []
        promises = []
        for objective, place in zip(objectives, listed, strict=True):
            if objective is None:
                continue
            promise = Promise(
                name=f"{metadata.name}-{objective.suffix}" if objective.suffix else metadata.name,
                title=f"{metadata.title} ({objective.label})" if objective.label else metadata.title,
                description=description,
                service=service,
                team=team,
                objective=objective.target,
                indicator=indicator,
                windows=windows,
                journey=metadata.journey,
                impact=metadata.impact,
                min_bad_events=metadata.min_bad_events,
                liveness=cast(Liveness, metadata.liveness),
                at=fields.place("name"),
            )
            _refuse_without_tiers(place, promise)
            promises.append(promise)
        return promises

    def _find_service(self, spec: Fields) -> Service | None:
        name = spec.name("service")
        if name and name not in self._services:
            remedy = f"Add a document of kind Service{_known(self._services)}"
            spec.problem("service", "reference-unknown", f"there is no Service {name!r}", remedy)
        return self._services.get(name)

    def _find_indicator(self, spec: Fields) -> RatioIndicator | None:
        inline, reference = spec.mapping("indicator", required=False), spec.name("indicatorRef", required=False)
        if (inline is None) == (not reference):
            what = "exactly one of indicator and indicatorRef is needed"
            spec.problem("indicator", "field-missing", what, "Write an indicator, or the name of an SLI document")
            return None
        if inline is not None:
            metadata, inner = inline.mapping("metadata", required=False), inline.mapping("spec")
            inline.done()
            return read_indicator(metadata, inner) if inner else None
        if reference not in self._indicators:
            remedy = f"Add a document of kind SLI{_known(self._indicators)}"
            spec.problem("indicatorRef", "reference-unknown", f"there is no SLI {reference!r}", remedy)
        return self._indicators.get(reference)

    def _read_windows(self, spec: Fields) -> WindowTable | None:
        listed = spec.mappings("timeWindow")
        if len(listed) != 1:
            if spec.has("timeWindow"):
                spec.problem("timeWindow", "field-form", "exactly one time window is needed", "List one")
            return None
        window = listed[0]
        what = "calendar windows are not executed: their budget comes back at the turn of the month"
        window.refuse("calendar", what, "Use a rolling window, `isRolling: true`")
        if window.choice("isRolling", ["true", "false"]) == "false" and not window.has("calendar"):
            window.problem("isRolling", "not-executable", what, "Use a rolling window, `isRolling: true`")
        table = window.parsed("duration", lambda text: self._table_for(parse_duration(text)))
        window.done()
        return table

    def _refuse_shared_names(self, promises: Iterable[Promise]) -> None:
        """Objective `c` of the SLO `a-b` and the SLO `a-b-c` record the same series; `a-1b` and `a1b` share alerts."""
        owners: dict[str, Promise] = {}
        for promise in promises:
            other = owners.setdefault(promise.alert_prefix, promise)
            if other is not promise:
                what = f"its alerts {promise.alert_prefix}… would be those of {other.name!r} at {other.at}"
                self.problems.append(Problem(promise.at, "metadata.name", "name-taken", what, "Rename one of the two"))


def _refuse_without_tiers(objective: Fields, promise: Promise) -> None:
    for severity in get_args(Severity):
        if not promise.tiers(severity):
            key = "target" if objective.has("target") else "targetPercent"
            what = f"with a budget of {promise.budget} no {severity} can ever fire: its threshold lies beyond 100 %"
            objective.problem(
                key, "tier-unreachable", what, "Raise the target, or lower the burn factors in slo/windows/"
            )


def _known(names: Iterable[str]) -> str:
    listed = ", ".join(sorted(names)[:8])
    return f"; known: {listed}" if listed else ""
