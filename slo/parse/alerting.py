"""AlertPolicy, AlertCondition and AlertNotificationTarget → `slo.alerting`, inline or by reference.

Owns which of their fields are executed and why the others are not. Refuses to know rules and receivers.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, cast, get_args

from slo.alerting import AlertPolicy, Condition, NotExecutable, Target, table_of
from slo.durations import parse_duration
from slo.errors import Problem
from slo.parse.catalogue import Catalogue, Document
from slo.parse.fields import Fields
from slo.parse.metadata import read_metadata
from slo.parse.targets import read_target
from slo.periods import Severity, WindowTable

NOTHING = timedelta(0)


def read_target_document(document: Document, catalogue: Catalogue) -> Target | None:
    """An AlertNotificationTarget; None when a problem was filed."""
    return read_target(document.metadata, document.spec) if document.spec else None


def read_condition_document(document: Document, catalogue: Catalogue) -> Condition | None:
    """An AlertCondition; None when a problem was filed."""
    return _read_condition(document.metadata, document.spec) if document.spec else None


def read_policy_document(document: Document, catalogue: Catalogue) -> AlertPolicy | None:
    """An AlertPolicy; None when a problem was filed."""
    return _read_policy(document.metadata, document.spec, catalogue) if document.spec else None


def read_policies(spec: Fields, catalogue: Catalogue) -> tuple[AlertPolicy, ...]:
    """The alert policies of an SLO. Complete only if no problem was filed."""

    def read(metadata: Fields, inner: Fields) -> AlertPolicy | None:
        return _read_policy(metadata, inner, catalogue)

    listed = spec.mappings("alertPolicies", required=False)
    entries = [_one(entry, "AlertPolicy", "alertPolicyRef", catalogue, read) for entry in listed]
    policies = tuple(policy for policy in entries if policy)
    _refuse_what_one_alert_cannot_do(spec, policies)
    return policies


def _refuse_what_one_alert_cannot_do(spec: Fields, policies: tuple[AlertPolicy, ...]) -> None:
    """The conditions of one severity are one alert: it waits so long, and is told to these."""
    waits: dict[str, timedelta] = {}
    audiences: dict[str, tuple[bool, frozenset[str]]] = {}
    for policy in policies:
        audience = policy.resolved, frozenset(target.name for target in policy.targets)
        for condition in policy.conditions:
            severity = condition.severity
            if waits.setdefault(severity, condition.alert_after) != condition.alert_after:
                what = f"its {severity} conditions have different alertAfter, and are one alert"
                spec.problem("alertPolicies", "not-executable", what, "Give them the same alertAfter")
                return
            if audiences.setdefault(severity, audience) != audience:
                what = f"its {severity} conditions belong to policies that tell different targets, and are one alert"
                remedy = "Name the same notificationTargets and alertWhenResolved in both, or choose another severity"
                spec.problem("alertPolicies", "not-executable", what, remedy)
                return


def apply_policies(
    policies: tuple[AlertPolicy, ...], table: WindowTable | None, problems: list[Problem]
) -> WindowTable | None:
    """The table as an SLO's policies would have it: their conditions are its only tiers. None for a problem."""
    if not policies or table is None:
        return table
    conditions = tuple(dict.fromkeys(condition for policy in policies for condition in policy.conditions))
    try:
        return table_of(conditions, table)
    except NotExecutable as error:
        what, _, remedy = str(error).partition("; ")
        remedy = remedy[:1].upper() + remedy[1:]
        field = "spec.condition.lookbackWindow"
        problems.append(Problem(error.condition.at, field, "not-executable", what, remedy))
        return None


def _read_policy(metadata: Fields, spec: Fields, catalogue: Catalogue) -> AlertPolicy | None:
    before = len(catalogue.problems)

    def read_inline(metadata: Fields, spec: Fields) -> Target | None:
        return _read_inline_target(metadata, spec, catalogue)

    name = read_metadata(metadata).name
    spec.text("description", required=False)
    breaching, no_data, resolved = (
        spec.choice(key, ["true", "false"], default="false") == "true"
        for key in ("alertWhenBreaching", "alertWhenNoData", "alertWhenResolved")
    )
    if not breaching and not no_data:
        remedy = "Set alertWhenBreaching or alertWhenNoData to true"
        spec.problem("alertWhenBreaching", "not-executable", "this policy never alerts", remedy)
    conditions = [
        _one(entry, "AlertCondition", "conditionRef", catalogue, _read_condition)
        for entry in spec.mappings("conditions", required=breaching)
    ]
    targets = [
        _one(entry, "AlertNotificationTarget", "targetRef", catalogue, read_inline)
        for entry in spec.mappings("notificationTargets", required=False)
    ]
    if breaching and not conditions and len(catalogue.problems) == before:
        spec.problem("conditions", "field-missing", "alerts on nothing", "Add a condition")
    if spec.has("alertWhenResolved") and not resolved and not targets:
        what = "the targets of its team hear of it and are told the end, which is not this policy's to change"
        spec.problem("alertWhenResolved", "not-executable", what, "Remove it, or name notificationTargets")
    spec.done()
    if len(catalogue.problems) > before or None in conditions or None in targets:
        return None
    return AlertPolicy(name, tuple(conditions) if breaching else (), no_data, resolved, tuple(targets))


def _read_inline_target(metadata: Fields, spec: Fields, catalogue: Catalogue) -> Target | None:
    """One that is written in a policy. A name is one receiver, so the same name must mean the same target."""
    target, kind = read_target(metadata, spec), "AlertNotificationTarget"
    if target:
        first = catalogue.inline.setdefault((kind, target.name), catalogue.of(kind).get(target.name, target))
        if first != target:
            what = f"another {kind} is called {target.name!r} and says something else"
            metadata.problem("name", "name-taken", what, "Choose another name, or write targetRef")
    return target


def _one(entry: Fields, kind: str, reference: str, catalogue: Catalogue, read: Callable[[Fields, Fields], Any]) -> Any:
    """The document that an entry of a list is, or that it names. None when a problem was filed."""
    if entry.has(reference):
        name = entry.name(reference)
        entry.done()
        return catalogue.find(kind, name, entry, reference) if name else None
    entry.choice("kind", [kind])
    metadata, spec = entry.mapping("metadata"), entry.mapping("spec")
    entry.done()
    return read(metadata, spec) if metadata and spec else None


def _read_condition(metadata: Fields, spec: Fields) -> Condition | None:
    read_metadata(metadata)
    spec.text("description", required=False)
    severity = spec.choice("severity", get_args(Severity))
    condition = spec.mapping("condition")
    spec.done()
    if condition is None:
        return None
    condition.choice("kind", ["burnrate"], default="burnrate")
    operator = condition.choice("op", ["gt", "gte", "lt", "lte"], default="gt")
    if operator in ("lt", "lte"):
        what = f"{operator} would alert while the budget burns slower than the threshold, which is when all is well"
        condition.problem("op", "not-executable", what, "Use gt or gte")
    burn = condition.number("threshold")
    if burn is not None and burn <= 0:
        condition.problem("threshold", "field-form", "a burn rate of zero or less is always there", "Use more than 0")
    lookback = condition.parsed("lookbackWindow", parse_duration)
    after = condition.parsed("alertAfter", _parse_wait, required=False)
    places = condition.place("lookbackWindow"), condition.place("threshold")
    condition.done()
    if severity is None or burn is None or lookback is None or burn <= 0 or operator in ("lt", "lte"):
        return None
    return Condition(cast(Severity, severity), burn, operator == "gte", lookback, after or NOTHING, *places)


def _parse_wait(text: str) -> timedelta:
    return NOTHING if text.rstrip("smhdw") == "0" else parse_duration(text)
