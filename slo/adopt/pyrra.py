"""Pyrra's ServiceLevelObjective files → OpenSLO.

Owns Pyrra's fields and what becomes of each of its four indicators. Source: kubernetes/api/v1alpha1 of
github.com/pyrra-dev/pyrra.
"""

from __future__ import annotations

from typing import Any

from slo.adopt.document import (
    NOT_CARRIED,
    NOT_CONVERTIBLE,
    Adopted,
    Defaults,
    counters,
    labels_of,
    measured,
    note_labels,
    ready_made,
    safe_name,
    team_of,
    unread,
)
from slo.durations import format_duration, parse_duration
from slo.parse.fields import Fields
from slo.parse.selector import parse_selector

API = ("pyrra.dev/v1alpha1", "ServiceLevelObjective")
SERVICE_LABELS = ("pyrra.dev/service", "app.kubernetes.io/name", "service", "app")
SHORTEST_WINDOW = "5m"

_GROUPING = "Write one SLO for each group, with its label in the query"


def read_pyrra(root: Fields, adopted: Adopted, defaults: Defaults) -> None:
    """Read one ServiceLevelObjective."""
    root.text("apiVersion")
    root.text("kind")
    metadata, spec = root.mapping("metadata"), root.mapping("spec")
    root.leave("status", NOT_CARRIED, "is Kubernetes' own", "Nothing to do")
    root.done()
    if metadata is None or spec is None:
        return
    name, labels = safe_name(metadata.text("name") or "unnamed"), labels_of(metadata)
    service = next((labels[key] for key in SERVICE_LABELS if labels.get(key)), defaults.service)
    if not service:
        metadata.problem("labels", NOT_CARRIED, f"no label names the service, {name} stands in", "Use --service")
    service = safe_name(service or name)
    note_labels(metadata, {key: value for key, value in labels.items() if key not in SERVICE_LABELS})
    unread(
        metadata,
        {
            "namespace": "Put the namespace into the queries, if they should be limited to it",
            "annotations": "Put them into the runbook of the alert",
        },
    )
    target, window = spec.number("target"), spec.parsed("window", parse_duration)
    description = spec.text("description", required=False)
    unread(
        spec,
        {
            "latency": 'Name the bucket in the query, as in le="1"',
            "performanceOverAccuracy": "Nothing to do: long windows are summed up from recorded samples always",
        },
    )
    _read_alerting(spec.mapping("alerting", required=False))
    team = team_of(labels, metadata, defaults, service)
    indicator = spec.mapping("indicator")
    spec.done()
    found = _read_indicator(indicator) if indicator else None
    if name in adopted.slos:
        metadata.problem("name", NOT_CONVERTIBLE, f"{name} was read already", "Rename one of the two")
    elif found is not None and target is not None and window is not None:
        adopted.add_slo(
            name, service, team, target_percent=float(target), window=format_duration(window), indicator=found[0],
            description=description, labels=labels, threshold=found[1], at=metadata.place("name"),
        )  # fmt: skip


Found = tuple[dict[str, Any], dict[str, Any]]  # the indicator, and what its objective needs besides the target


def _read_indicator(indicator: Fields) -> Found | None:
    readers = {
        "ratio": _ratio,
        "latency": _latency,
        "latencyNative": _native,
        "bool_gauge": _gauge,
        "boolGauge": _gauge,
    }
    there = [key for key in readers if indicator.has(key)]
    if len(there) != 1:
        indicator.problem("ratio", NOT_CONVERTIBLE, "exactly one indicator is needed", "Write one of them")
    fields = indicator.mapping(there[0]) if len(there) == 1 else None
    if fields is None:
        return None
    indicator.done()
    fields.leave("grouping", NOT_CARRIED, "makes one budget of each group", _GROUPING)
    found = readers[there[0]](fields)
    fields.done()
    return found


def _ratio(fields: Fields) -> Found | None:
    errors, total = _metric(fields.mapping("errors")), _metric(fields.mapping("total"))
    return (counters(total, bad=errors), {}) if errors and total else None


def _latency(fields: Fields) -> Found | None:
    owner = fields.mapping("success")
    good, total = _metric(owner), _metric(fields.mapping("total"))
    if good and owner and 'le="' not in good.replace(" ", ""):
        owner.problem("metric", NOT_CONVERTIBLE, "names no bucket", 'Add the edge, as in le="1"')
        return None
    return (counters(total, good=good), {}) if good and total else None


def _native(fields: Fields) -> Found | None:
    total, latency = _metric(fields.mapping("total")), fields.parsed("latency", parse_duration)
    if not total or latency is None:
        return None
    query = f"histogram_fraction(0, {latency.total_seconds():.10g}, sum(rate({total}[{SHORTEST_WINDOW}])))"
    what = f"becomes a ratio that is looked at over {SHORTEST_WINDOW}: every look weighs the same"
    fields.problem("latency", NOT_CARRIED, what, "Count good events in a classic bucket to weigh them by events")
    return ready_made(query, "success"), {}


def _gauge(fields: Fields) -> Found | None:
    metric = _metric(fields)
    return (measured(metric), {"op": "gte", "value": 1}) if metric else None


def _metric(fields: Fields | None) -> str | None:
    """A selector in the words that our parser reads."""
    if fields is None:
        return None
    text = fields.text("metric")
    if fields.has("total"):
        return text
    try:
        parse_selector(text)
    except ValueError as error:
        what, _, remedy = str(error).partition("; ")
        fields.problem("metric", NOT_CONVERTIBLE, what, f"{remedy[:1].upper()}{remedy[1:]}")
        return None
    return " ".join(text.split())


def _read_alerting(alerting: Fields | None) -> None:
    if alerting is None:
        return
    if alerting.choice("disabled", ["true", "false"], default="false") == "true":
        remedy = "Route its labels to a receiver without targets"
        alerting.problem("disabled", NOT_CARRIED, "switches the alerts off", remedy)
    unread(
        alerting,
        {
            "name": "Alerts are named after the SLO: rename silences and runbooks",
            "burnrates": "Both burn alerts are written: route the one that nobody wants to a receiver without targets",
            "absent": "The alert on missing data is always written",
            "burnRateType": "Burn factors are data in slo/windows/",
        },
    )
    alerting.done()
