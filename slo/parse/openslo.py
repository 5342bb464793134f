"""An OpenSLO SLO → promises.

Owns what of an SLO is executed (a rolling window, Occurrences, any number of objectives) and the refusal of all the
rest by name. Refuses to know what is made of a promise.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast, get_args

from slo.durations import parse_duration
from slo.errors import Problem
from slo.model import Liveness, Promise, RatioIndicator, Service, Severity, WindowTable
from slo.parse.alerting import apply_policies, read_policies
from slo.parse.catalogue import Catalogue, Document
from slo.parse.fields import Fields
from slo.parse.indicator import read_indicator
from slo.parse.metadata import read_metadata
from slo.parse.objective import read_objective


def read_slo(document: Document, catalogue: Catalogue) -> list[Promise] | None:
    """One promise for each objective; None when a problem was filed."""
    fields, spec = document.metadata, document.spec
    if spec is None:
        return None
    before = len(catalogue.problems)
    metadata = read_metadata(fields, kind="SLO")
    service = _find_service(spec, catalogue)
    team = metadata.team or (service.team if service else "")
    if service and not team:
        remedy = "Add a label `team` to the SLO or to its Service: somebody must get the page"
        fields.problem("labels", "field-missing", "nobody owns this promise", remedy)
    indicator = _find_indicator(spec, catalogue)
    windows = _read_windows(spec, catalogue)
    method = spec.choice("budgetingMethod", ["Occurrences", "Timeslices", "RatioTimeslices"])
    if method in ("Timeslices", "RatioTimeslices"):
        spec.problem("budgetingMethod", "not-executable", f"{method} is not executed", "Use Occurrences")
    policies = read_policies(spec, catalogue)
    windows = apply_policies(policies, windows, catalogue.problems)
    listed = spec.mappings("objectives")
    if not listed and spec.has("objectives"):
        spec.problem("objectives", "field-missing", "promises nothing", "Add an objective with a target")
    objectives = [read_objective(each, several=len(listed) > 1) for each in listed]
    description = spec.text("description", required=False)
    spec.done()
    if len(catalogue.problems) > before or service is None or indicator is None or windows is None:
        return None
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
            policies=policies,
        )
        _refuse_without_tiers(place, promise)
        promises.append(promise)
    return promises


def refuse_shared_names(promises: Iterable[Promise], problems: list[Problem]) -> None:
    """Objective `c` of the SLO `a-b` and the SLO `a-b-c` record the same series; `a-1b` and `a1b` share alerts."""
    owners: dict[str, Promise] = {}
    for promise in promises:
        other = owners.setdefault(promise.alert_prefix, promise)
        if other is not promise:
            what = f"its alerts {promise.alert_prefix}… would be those of {other.name!r} at {other.at}"
            problems.append(Problem(promise.at, "metadata.name", "name-taken", what, "Rename one of the two"))


def _find_service(spec: Fields, catalogue: Catalogue) -> Service | None:
    name = spec.name("service")
    return catalogue.find("Service", name, spec, "service") if name else None


def _find_indicator(spec: Fields, catalogue: Catalogue) -> RatioIndicator | None:
    inline, reference = spec.mapping("indicator", required=False), spec.name("indicatorRef", required=False)
    if (inline is None) == (not reference):
        what = "exactly one of indicator and indicatorRef is needed"
        spec.problem("indicator", "field-missing", what, "Write an indicator, or the name of an SLI document")
        return None
    if inline is not None:
        metadata, inner = inline.mapping("metadata", required=False), inline.mapping("spec")
        inline.done()
        return read_indicator(metadata, inner) if inner else None
    return catalogue.find("SLI", reference, spec, "indicatorRef")


def _read_windows(spec: Fields, catalogue: Catalogue) -> WindowTable | None:
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
    table = window.parsed("duration", lambda text: catalogue.table_for(parse_duration(text)))
    window.done()
    return table


def _refuse_without_tiers(objective: Fields, promise: Promise) -> None:
    for severity in get_args(Severity):
        wanted = any(tier.severity == severity for tier in promise.windows.tiers)
        if (wanted or not promise.policies) and not promise.tiers(severity):
            key = "target" if objective.has("target") else "targetPercent"
            what = f"with a budget of {promise.budget} no {severity} can ever fire: its threshold lies beyond 100 %"
            objective.problem(
                key, "tier-unreachable", what, "Raise the target, or lower the burn factors in slo/windows/"
            )
