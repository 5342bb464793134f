"""Grafana's JSON for a handful of panel types, and their places on the 24 columns of a dashboard.

Owns the schema of panels (Grafana's classic dashboard model). Refuses to know what is asked.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

PROMETHEUS = {"type": "prometheus", "uid": "prometheus"}
LOKI = {"type": "loki", "uid": "loki"}
COLUMNS = 24
HEIGHT = 8
REFIDS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

Steps = tuple[tuple[float | None, str], ...]
Rows = Iterable[tuple[str, Sequence["Panel"]]]


@dataclass(frozen=True)
class Target:
    """One query of a panel."""

    expression: str
    legend: str
    instant: bool = False
    exemplar: bool = False


@dataclass(frozen=True)
class Panel:
    """What is shown; `steps` are thresholds with the colour from there on (the first has no value).

    `of_lines`: its targets are LogQL.
    """

    kind: str
    title: str
    description: str
    targets: Sequence[Target]
    width: int
    unit: str = "short"
    steps: Steps = ((None, "green"),)
    limits: tuple[float | None, float | None] = (None, None)
    logarithmic: bool = False
    of_lines: bool = False


@dataclass(frozen=True)
class Leads:
    """Where a panel leads: the traces of a service, and log lines (LogQL), at the dashboard's time range."""

    service: str
    lines: str

    def links(self) -> list[dict[str, Any]]:
        """A panel's links, as Grafana's Explore takes them."""
        search = {"refId": "A", "datasource": {"type": "jaeger", "uid": "jaeger"}}
        traces = search | {"queryType": "search", "service": self.service}
        logs = {"refId": "A", "datasource": LOKI, "expr": self.lines, "queryType": "range"}
        return [
            {"title": "Traces", "url": _explore("jaeger", traces), "targetBlank": True},
            {"title": "Logs", "url": _explore("loki", logs), "targetBlank": True},
        ]


def lay_out(rows: Rows, leads: Leads) -> list[dict[str, Any]]:
    """Rows of panels, left to right and downwards, with ids in that order."""
    laid: list[dict[str, Any]] = []
    top = 0
    for title, panels in rows:
        place = {"h": 1, "w": COLUMNS, "x": 0, "y": top}
        laid.append(
            {"id": len(laid) + 1, "type": "row", "title": title, "collapsed": False, "gridPos": place, "panels": []}
        )
        top += 1
        left = 0
        for panel in panels:
            if left + panel.width > COLUMNS:
                left, top = 0, top + HEIGHT
            place = {"h": HEIGHT, "w": panel.width, "x": left, "y": top}
            laid.append({"id": len(laid) + 1, **_panel(panel), "links": leads.links(), "gridPos": place})
            left += panel.width
        top += HEIGHT
    return laid


def _panel(panel: Panel) -> dict[str, Any]:
    source, target_of = (LOKI, _log_target) if panel.of_lines else (PROMETHEUS, _target)
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": source,
        "targets": [target_of(target, refid) for target, refid in zip(panel.targets, REFIDS, strict=False)],
        "fieldConfig": {"defaults": {} if panel.kind == "logs" else _field(panel), "overrides": []},
        "options": _OPTIONS[panel.kind],
    }


def _target(target: Target, refid: str) -> dict[str, Any]:
    return {
        "refId": refid,
        "datasource": PROMETHEUS,
        "expr": target.expression,
        "legendFormat": target.legend,
        "instant": target.instant,
        "range": not target.instant,
        "exemplar": target.exemplar,
        **({"format": "table"} if target.instant and not target.legend else {}),
    }


def _log_target(target: Target, refid: str) -> dict[str, Any]:
    return {
        "refId": refid,
        "datasource": LOKI,
        "expr": target.expression,
        "legendFormat": target.legend,
        "queryType": "instant" if target.instant else "range",
        "maxLines": 200,
    }


def _field(panel: Panel) -> dict[str, Any]:
    steps = [{"value": value, "color": colour} for value, colour in panel.steps]
    field: dict[str, Any] = {"unit": panel.unit, "thresholds": {"mode": "absolute", "steps": steps}}
    field |= {name: limit for name, limit in zip(("min", "max"), panel.limits, strict=True) if limit is not None}
    if panel.kind == "timeseries":
        scale = {"type": "log", "log": 10} if panel.logarithmic else {"type": "linear"}
        lines = "line" if len(panel.steps) > 1 else "off"
        field["color"] = {"mode": "palette-classic"}
        field["custom"] = {
            "lineWidth": 2,
            "fillOpacity": 0,
            "spanNulls": False,
            "scaleDistribution": scale,
            "thresholdsStyle": {"mode": lines},
        }
    else:
        field["color"] = {"mode": "thresholds"}
    return field


def _explore(source: str, query: dict[str, Any]) -> str:
    time = '"range":{"from":"${__from}","to":"${__to}"}'
    pane = f'{{"a":{{"datasource":"{source}","queries":[{_compact(query)}],{time}}}}}'
    # Grafana fills in variables before it opens the link, so their marks must not be encoded.
    return f"/explore?schemaVersion=1&orgId=1&panes={quote(pane, safe='${}')}"


def _compact(query: dict[str, Any]) -> str:
    return json.dumps(query, separators=(",", ":"), ensure_ascii=False)


_LAST = {"calcs": ["lastNotNull"], "fields": "", "values": False}
_OPTIONS: dict[str, dict[str, Any]] = {
    "stat": {"reduceOptions": _LAST, "colorMode": "value", "graphMode": "none", "textMode": "auto"},
    "bargauge": {"reduceOptions": _LAST, "orientation": "horizontal", "displayMode": "basic"},
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": ["lastNotNull"]},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "state-timeline": {
        "showValue": "never",
        "mergeValues": True,
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
    },
    "table": {"showHeader": True, "cellHeight": "sm"},
    "logs": {
        "showTime": True,
        "wrapLogMessage": True,
        "enableLogDetails": True,
        "sortOrder": "Descending",
        "dedupStrategy": "none",
        "prettifyLogMessage": False,
        "showLabels": False,
        "showCommonLabels": False,
    },
}
