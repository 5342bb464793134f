"""An OpenSLO SLO → promises.

Owns how the parts of an SLO make promises: one for each objective, or one for all of them when each has an indicator
of its own (a composite). Refuses to know what is made of a promise.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal
from typing import cast, get_args

from slo import burn
from slo.errors import Problem
from slo.model import CompositeIndicator, Indicator, Liveness, Part, Promise, Service, Severity
from slo.parse.alerting import apply_policies, read_policies
from slo.parse.catalogue import Catalogue, Document
from slo.parse.fields import Fields
from slo.parse.indicator import find_indicator
from slo.parse.metadata import ANNOTATION, DEFAULT_MIN_EVENTS, Metadata, read_metadata
from slo.parse.objective import SMALLEST_BUDGET, Objective, read_objective, too_small
from slo.parse.time_window import read_time_window

METHODS = ("Occurrences", "Timeslices", "RatioTimeslices")
FEWEST_SLICES = 30  # in a period, or its ratio would be a handful of verdicts
TARGET_STEP = Decimal("1e-12")
SHARE_STEP = Decimal("1e-10")


def read_slo(document: Document, catalogue: Catalogue) -> list[Promise] | None:
    """One promise for each objective, or one for the composite of all; None when a problem was filed."""
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
    policies = read_policies(spec, catalogue)
    listed = spec.mappings("objectives")
    if not listed and spec.has("objectives"):
        spec.problem("objectives", "field-missing", "promises nothing", "Add an objective with a target")
    own = any(each.has(key) for each in listed for key in ("indicator", "indicatorRef"))
    composite = own and not spec.has("indicator") and not spec.has("indicatorRef")
    shared = None if composite else find_indicator(spec, catalogue)
    table = apply_policies(policies, read_time_window(spec, catalogue), catalogue.problems)
    method = spec.choice("budgetingMethod", METHODS) or METHODS[0]
    objectives = [
        read_objective(
            each, catalogue, method=method, shared=shared, composite=composite, several=composite or len(listed) > 1
        )
        for each in listed
    ]
    description = spec.text("description", required=False)
    _refuse_shared_labels(objectives, listed)
    spec.done()
    read = [objective for objective in objectives if objective]
    if len(catalogue.problems) > before or service is None or table is None or not read or len(read) < len(objectives):
        return None  # what it refers to may have had the problems
    first = read[0]
    draft = Promise(
        name=metadata.name,
        title=metadata.title,
        description=description,
        service=service,
        team=team,
        objective=first.target,
        indicator=first.indicator,
        windows=table,
        journey=metadata.journey,
        impact=metadata.impact,
        min_bad_events=metadata.min_bad_events or DEFAULT_MIN_EVENTS,
        liveness=cast(Liveness, metadata.liveness),
        at=fields.place("name"),
        policies=policies,
    )
    promises = [_promise(draft, *pair, metadata) for pair in zip(read, listed, strict=True)]
    if composite:
        weights = [objective.weight for objective in read]
        whole = _composite(draft, promises, weights, listed, sliced=method == "Timeslices")
        promises = [whole] if whole else []
    for promise, place in zip(promises, listed, strict=False):
        _refuse_without_tiers(place, promise, catalogue.problems)
        _refuse_zero_traffic(fields, promise)
    return promises


def refuse_shared_names(promises: Iterable[Promise], problems: list[Problem]) -> None:
    """Objective `c` of the SLO `a-b` and the SLO `a-b-c` record the same series; `a-1b` and `a1b` share alerts; the
    rules of `a-budget` and of the budget of `a` share a group."""
    promises = tuple(promises)
    groups = {
        "calendars": "the calendars",
        **{f"{whole.name}-budget": f"the budget of {whole.name!r}" for whole in promises},
    }
    for whole in promises:
        if whole.name in groups:
            what = f"its rules would be those of {groups[whole.name]}"
            problems.append(Problem(whole.at, "metadata.name", "name-taken", what, "Choose another name"))
    owners: dict[str, Promise] = {}
    for whole in promises:
        for promise in (whole, *(part.promise for part in whole.parts)):
            other = owners.setdefault(promise.alert_prefix, promise)
            if other is not promise:
                what = f"its alerts {promise.alert_prefix}… would be those of {other.name!r} at {other.at}"
                problems.append(Problem(promise.at, "metadata.name", "name-taken", what, "Rename one of the two"))


def _refuse_shared_labels(objectives: Iterable[Objective | None], listed: Iterable[Fields]) -> None:
    taken: dict[str, str] = {}
    for objective, place in zip(objectives, listed, strict=True):
        if objective and (other := taken.setdefault(objective.suffix, str(place.at))) != str(place.at):
            what = f"makes the name {objective.suffix!r}, as that of the objective at {other} does"
            place.problem("displayName", "name-taken", what, "Rename one of the two")


def _find_service(spec: Fields, catalogue: Catalogue) -> Service | None:
    name = spec.name("service")
    return catalogue.find("Service", name, spec, "service") if name else None


def _promise(draft: Promise, objective: Objective, place: Fields, metadata: Metadata) -> Promise:
    windows, least = draft.windows, metadata.min_bad_events
    if slices := objective.slices:
        if slices.length * FEWEST_SLICES > windows.period.length:
            what = f"leaves fewer than {FEWEST_SLICES} slices in {windows.period.name}"
            place.problem("timeSliceWindow", "field-form", what, "Choose shorter slices or a longer period")
        if least is None and slices.length > windows.base.length:
            least = 1  # three such slices would be too long to wait for
        windows = windows.for_slices(slices.length)
    return replace(
        draft,
        name=f"{draft.name}-{objective.suffix}" if objective.suffix else draft.name,
        title=f"{draft.title} ({objective.label})" if objective.label else draft.title,
        objective=objective.target,
        indicator=objective.indicator,
        slices=slices,
        windows=windows,
        min_bad_events=least or DEFAULT_MIN_EVENTS,
    )


def _composite(
    draft: Promise, promises: list[Promise], weights: list[Decimal], places: list[Fields], *, sliced: bool
) -> Promise | None:
    """Several promises in one, as docs/adr/0012-composites.md has it; None when a problem was filed."""
    lengths = {promise.slices.length for promise in promises if promise.slices}
    windows = draft.windows.for_slices(max(lengths)) if lengths else draft.windows
    burns = [weight / promise.budget for promise, weight in zip(promises, weights, strict=True)]
    together = sum(burns, Decimal())
    budget = min(promise.budget for promise in promises) if sliced else 1 / together
    if sliced and len(lengths) > 1:
        what = "differs from that of another objective, so no slice is bad for both"
        places[-1].problem("timeSliceWindow", "not-executable", what, "Give all objectives of a composite the same")
        return None
    if not SMALLEST_BUDGET <= budget < 1:
        what = too_small(budget) if budget < 1 else "weighs so little that the composite could never burn its budget"
        places[0].problem("compositeWeight", "not-executable", what, "Choose weights nearer to 1")
        return None
    parts = zip(promises, weights, burns, strict=True)
    indicator: Indicator = CompositeIndicator(
        tuple(
            Part(replace(promise, windows=windows), weight, burn.plain((each / together).quantize(SHARE_STEP)))
            for promise, weight, each in parts
        )
    )
    return replace(
        draft,
        objective=burn.plain((1 - budget).quantize(TARGET_STEP)),
        indicator=indicator,
        slices=promises[0].slices if sliced else None,
        windows=windows,
        min_bad_events=min(promise.min_bad_events for promise in promises),
    )


def _refuse_without_tiers(objective: Fields, promise: Promise, problems: list[Problem]) -> None:
    for severity in get_args(Severity):
        wanted = [each for policy in promise.policies for each in policy.conditions if each.severity == severity]
        if (promise.policies and not wanted) or promise.tiers(severity):
            continue
        what = f"with a budget of {promise.budget} no {severity} can ever fire: its threshold lies beyond 100 %"
        for condition in wanted:
            remedy = (
                f"Choose less than {burn.plain((1 / promise.budget).quantize(Decimal('0.01')))}, or raise the target"
            )
            field = "spec.condition.threshold"
            problems.append(Problem(condition.burn_at, field, "severity-unreachable", what, remedy))
        if not wanted:
            key = "target" if objective.has("target") else "targetPercent"
            remedy = "Raise the target, or lower the burn factors in slo/windows/"
            objective.problem(key, "severity-unreachable", what, remedy)


def _refuse_zero_traffic(metadata: Fields, promise: Promise) -> None:
    """A measurement has no traffic that could be zero."""
    counted = [each for each in (promise, *(part.promise for part in promise.parts)) if each.counters]
    if promise.liveness == "zero" and not counted:
        annotations = metadata.mapping("annotations", required=False)
        if annotations:
            what = "only counters can stand still"
            annotations.problem(f"{ANNOTATION}liveness", "not-executable", what, "Write absent, or leave it out")
