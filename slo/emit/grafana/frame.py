"""What all dashboards have in common: their envelope, one set of variables, annotations, links among them.

Owns the schema of a dashboard without its panels. Refuses to know what the panels show.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from slo.emit import promql
from slo.emit.grafana.panels import PROMETHEUS, Leads, Rows, lay_out

SCHEMA_VERSION = 39  # Grafana 10.4 and later read it; newer ones bring it up to date when they load it
TAG = "signalbox"

# Name → label on the page, and the query for its values.
VARIABLES = {
    "job": ("Service", "label_values(signalbox_build_info, job)"),
    "instance": ("Instance", "label_values(signalbox_build_info, instance)"),
    "route": ("Route", "label_values(http_server_request_duration_seconds_count, http_route)"),
    "slo": ("SLO", f"label_values({promql.OBJECTIVE}, slo)"),
}

# What a person wants to see on every time axis: name → query, colour, text.
ANNOTATIONS = {
    "Deploys": (
        "count by (service_name, service_version, revision) (signalbox_build_info)\n"
        "unless\ncount by (service_name, service_version, revision) (signalbox_build_info offset 2m)",
        "blue",
        "{{service_name}} {{service_version}} ({{revision}})",
    ),
    "Faults": ("signalbox_fault_active == 1", "purple", "fault {{fault}} on {{instance}}"),
    "Alerts": ('ALERTS{alertstate="firing",tier=~"page|ticket"}', "red", "{{tier}}: {{alertname}}"),
}
# What the pipeline writes itself (`make annotate`), by the tags that it gives it: name → tags, colour.
WRITTEN = {"Pipeline": (("deploy", "signalbox"), "green")}
GRAFANA = {"type": "grafana", "uid": "-- Grafana --"}  # Grafana's own data source, where such notes are kept
MOST_NOTES = 100


def emit_dashboard(
    uid: str,
    title: str,
    description: str,
    tags: list[str],
    rows: Rows,
    leads: Leads,
    *,
    variables: Iterable[str] = (),
    since: str,
    refresh: str = "30s",
) -> str:
    """A whole dashboard as JSON; `since` is where its time range starts, as Grafana writes it (`now-6h`)."""
    document = {
        "uid": uid,
        "title": title,
        "description": description,
        "tags": [TAG, *tags],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "refresh": refresh,
        "time": {"from": since, "to": "now"},
        "timezone": "",
        "templating": {"list": [_variable(name) for name in variables]},
        "annotations": {"list": [*map(_annotation, ANNOTATIONS), *map(_written, WRITTEN)]},
        "links": [_link()],
        "panels": lay_out(rows, leads),
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


def _variable(name: str) -> dict[str, Any]:
    label, query = VARIABLES[name]
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": PROMETHEUS,
        "definition": query,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".+",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "options": [],
    }


def _annotation(name: str) -> dict[str, Any]:
    query, colour, text = ANNOTATIONS[name]
    return {
        "name": name,
        "datasource": PROMETHEUS,
        "enable": True,
        "iconColor": colour,
        "expr": query,
        "titleFormat": text,
        "step": "15s",
    }


def _written(name: str) -> dict[str, Any]:
    tags, colour = WRITTEN[name]
    return {
        "name": name,
        "datasource": GRAFANA,
        "enable": True,
        "iconColor": colour,
        "target": {"type": "tags", "tags": list(tags), "matchAny": False, "limit": MOST_NOTES},
    }


def _link() -> dict[str, Any]:
    return {
        "type": "dashboards",
        "title": "Signalbox",
        "tags": [TAG],
        "asDropdown": True,
        "keepTime": True,
        "includeVars": True,
        "targetBlank": False,
    }
