"""Sloth's SLO files, `version: prometheus/v1` and the Kubernetes kind PrometheusServiceLevel → OpenSLO.

Owns Sloth's fields (both spellings: `error_query` in files, `errorQuery` in Kubernetes) and what becomes of each.
Sources: pkg/prometheus/api/v1 and pkg/kubernetes/api/sloth/v1 of github.com/slok/sloth.
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
    note_labels,
    ready_made,
    safe_name,
    team_of,
    unread,
)
from slo.adopt.queries import Events, fill_window, read_division, read_events
from slo.parse.fields import Fields

FILE_VERSION = "prometheus/v1"
KUBERNETES = ("sloth.slok.dev/v1", "PrometheusServiceLevel")
SHORTEST_WINDOW = "5m"

_ALERT_NAME = "Alerts are named after the SLO (…BurnPage, …BurnTicket): rename silences and runbooks"
_LABELS = "Routes go by the labels tier, team, service and slo: match these in Alertmanager"
_DISABLED = "Both burn alerts are written: route the one that nobody wants to a receiver without targets"
_PLUGIN = "Write the rules that the plugin adds by hand"


def read_sloth(root: Fields, adopted: Adopted, defaults: Defaults) -> None:
    """Read one document of either form."""
    spec: Fields | None = root
    if root.has("version"):
        root.text("version")
    else:
        root.text("apiVersion")
        root.text("kind")
        metadata, spec = root.mapping("metadata", required=False), root.mapping("spec")
        unread(metadata, {"namespace": "Put the namespace into the queries, if they should be limited to it"})
        root.leave("status", NOT_CARRIED, "is Kubernetes' own", "Nothing to do")
        root.done()
    if spec is None:
        return
    service = safe_name(spec.text("service") or "unnamed")
    labels = labels_of(spec)
    note_labels(spec, labels)
    plugins = {"slo_plugins": _PLUGIN, "sloPlugins": _PLUGIN}
    unread(spec, plugins)
    for slo in spec.mappings("slos"):
        _read_slo(slo, service, labels, adopted, defaults)
    spec.done()


def _read_slo(slo: Fields, service: str, labels: dict[str, str], adopted: Adopted, defaults: Defaults) -> None:
    name = safe_name(f"{service}-{slo.text('name') or 'unnamed'}")
    objective = slo.number("objective")
    own = {**labels, **(more := labels_of(slo))}
    note_labels(slo, more)
    description = slo.text("description", required=False)
    team = team_of(own, slo, defaults, service)
    unread(
        slo,
        {
            "infoLabels": "Put them into the documentation",
            "interval": "How often rules are evaluated is data in slo/windows/",
            "plugins": _PLUGIN,
        },
    )
    _read_alerting(slo.mapping("alerting", required=False))
    sli = slo.mapping("sli")
    slo.done()
    if name in adopted.slos:
        slo.problem("name", NOT_CONVERTIBLE, f"{name} was read already", "Rename one of the two")
        return
    indicator = _read_sli(sli) if sli else None
    if indicator is not None and objective is not None:
        adopted.add_slo(
            name, service, team, target_percent=float(objective), window=defaults.window, indicator=indicator,
            description=description, labels=own, at=slo.place("name"),
        )  # fmt: skip


def _read_sli(sli: Fields) -> dict[str, Any] | None:
    events, raw = sli.mapping("events", required=False), sli.mapping("raw", required=False)
    sli.leave("plugin", NOT_CONVERTIBLE, "is not known here", "Write the query that the plugin makes")
    sli.done()
    if events is not None:
        bad, total = (_query(events, *keys) for keys in (("error_query", "errorQuery"), ("total_query", "totalQuery")))
        events.done()
        return _from_events(events, bad, total)
    if raw is not None:
        key, query = _query(raw, "error_ratio_query", "errorRatioQuery")
        raw.done()
        return _from_ratio(raw, key, query)
    return None


def _query(fields: Fields, *spellings: str) -> tuple[str, str]:
    """The spelling that is there and its text."""
    key = next((spelling for spelling in spellings if fields.has(spelling)), spellings[0])
    return key, fields.text(key)


def _from_events(fields: Fields, bad: tuple[str, str], total: tuple[str, str]) -> dict[str, Any] | None:
    errors, whole = _events(fields, *bad), _events(fields, *total)
    if errors is None or whole is None:
        return None
    if whole.less:
        fields.problem(total[0], NOT_CONVERTIBLE, "is a difference", "Name one counter of all events")
        return None
    if errors.less is None:
        return counters(whole.counter, bad=errors.counter)
    if errors.counter != whole.counter:
        what = "takes good events away from something else than the total"
        fields.problem(bad[0], NOT_CONVERTIBLE, what, "Write total − good, with the total's own query")
        return None
    return counters(whole.counter, good=errors.less)


def _events(fields: Fields, key: str, query: str) -> Events | None:
    if not query:
        return None
    try:
        found = read_events(query)
    except ValueError as error:
        what, _, remedy = str(error).partition("; ")
        fields.problem(key, NOT_CONVERTIBLE, what, f"{remedy[:1].upper()}{remedy[1:]}")
        return None
    if found.grouped:
        what = "is grouped by labels, and one SLO is one budget"
        fields.problem(key, NOT_CARRIED, what, "Write one SLO for each group, with its label in the query")
    return found


def _from_ratio(fields: Fields, key: str, query: str) -> dict[str, Any] | None:
    """A ratio of two counters is one of events after all; any other is looked at over the shortest window."""
    if not query:
        return None
    sides = read_division(query)
    if sides:
        try:
            errors, whole = read_events(sides[0]), read_events(sides[1])
        except ValueError:
            pass
        else:
            if errors.less is None and whole.less is None:
                return counters(whole.counter, bad=errors.counter)
    what = f"is a ratio of its own: every look at it over {SHORTEST_WINDOW} weighs the same, however many events it had"
    fields.problem(key, NOT_CARRIED, what, "Give error and total counters, if there are any")
    return ready_made(fill_window(query, SHORTEST_WINDOW), "failure")


def _read_alerting(alerting: Fields | None) -> None:
    unread(alerting, {"name": _ALERT_NAME, "labels": _LABELS, "annotations": "Put them into the runbook of the alert"})
    for spellings in (("page_alert", "pageAlert"), ("ticket_alert", "ticketAlert")):
        for spelling in spellings:
            alert = alerting.mapping(spelling, required=False) if alerting else None
            if alert is None:
                continue
            if alert.choice("disable", ["true", "false"], default="false") == "true":
                alert.problem("disable", NOT_CARRIED, "switches an alert off", _DISABLED)
            unread(alert, {"labels": _LABELS, "annotations": "Put them into the runbook of the alert"})
            alert.done()
    if alerting:
        alerting.done()
