"""Grafana's JSON for a handful of panel types, and their places on the 24 columns of a dashboard.

Owns the schema. Refuses to know what is asked.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

DATASOURCE = {"type": "prometheus", "uid": "prometheus"}
COLUMNS = 24
HEIGHT = 8

Steps = tuple[tuple[float | None, str], ...]


@dataclass(frozen=True)
class Target:
    """One query of a panel."""

    expression: str
    legend: str
    instant: bool = False
    exemplar: bool = False


@dataclass(frozen=True)
class Panel:
    """What is shown; `steps` are thresholds with the colour from there on (the first has no value)."""

    kind: str
    title: str
    description: str
    targets: list[Target]
    width: int
    unit: str = "short"
    steps: Steps = ((None, "green"),)
    limits: tuple[float | None, float | None] = (None, None)
    logarithmic: bool = False


def emit_document(
    uid: str,
    title: str,
    description: str,
    tags: list[str],
    *,
    refresh: str,
    since: str,
    rows: Iterable[tuple[str, list[Panel]]],
    variables: Iterable[dict[str, Any]] = (),
    annotations: Iterable[dict[str, Any]] = (),
    links: Iterable[dict[str, Any]] = (),
) -> str:
    """A whole dashboard as JSON; `since` is where its time range starts, as Grafana writes it (`now-6h`)."""
    document = {
        "uid": uid,
        "title": title,
        "description": description,
        "tags": tags,
        "schemaVersion": 39,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "refresh": refresh,
        "time": {"from": since, "to": "now"},
        "timezone": "",
        "templating": {"list": list(variables)},
        "annotations": {"list": list(annotations)},
        "links": list(links),
        "panels": lay_out(rows),
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def lay_out(rows: Iterable[tuple[str, list[Panel]]]) -> list[dict[str, Any]]:
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
            laid.append({"id": len(laid) + 1, **_panel(panel), "gridPos": place})
            left += panel.width
        top += HEIGHT
    return laid


def _panel(panel: Panel) -> dict[str, Any]:
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": DATASOURCE,
        "targets": [_target(target, index) for index, target in enumerate(panel.targets)],
        "fieldConfig": {"defaults": _field(panel), "overrides": []},
        "options": _OPTIONS[panel.kind],
    }


def _target(target: Target, index: int) -> dict[str, Any]:
    return {
        "refId": chr(ord("A") + index),
        "datasource": DATASOURCE,
        "expr": target.expression,
        "legendFormat": target.legend,
        "instant": target.instant,
        "range": not target.instant,
        "exemplar": target.exemplar,
    }


def _field(panel: Panel) -> dict[str, Any]:
    steps = [{"value": value, "color": colour} for value, colour in panel.steps]
    field: dict[str, Any] = {"unit": panel.unit, "thresholds": {"mode": "absolute", "steps": steps}}
    field |= {name: limit for name, limit in zip(("min", "max"), panel.limits, strict=True) if limit is not None}
    if panel.kind == "timeseries":
        scale = {"type": "log", "log": 10} if panel.logarithmic else {"type": "linear"}
        lines = "line" if len(panel.steps) > 1 else "off"
        field["custom"] = {
            "lineWidth": 2,
            "fillOpacity": 0,
            "spanNulls": False,
            "scaleDistribution": scale,
            "thresholdsStyle": {"mode": lines},
        }
    return field


_LAST = {"calcs": ["lastNotNull"], "fields": "", "values": False}
_OPTIONS: dict[str, dict[str, Any]] = {
    "stat": {"reduceOptions": _LAST, "colorMode": "value", "graphMode": "none", "textMode": "auto"},
    "bargauge": {"reduceOptions": _LAST, "orientation": "horizontal", "displayMode": "basic"},
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "state-timeline": {
        "showValue": "never",
        "mergeValues": True,
        "legend": {"displayMode": "list", "showLegend": True},
    },
}
