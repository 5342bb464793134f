"""The report: evidence → a folder with one HTML file to read and the evidence beside it.

Owns the folder's form and how evidence is laid out for a reader. Refuses to ask any backend: everything shown is in the
evidence, so a report can be drawn again from it. All of it is untrusted text and escaped.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup

from incidents.plot import Axis, Mark, Plot, build_plot, emit_offset, emit_value

COLOURS = 8
_MOMENTS = (
    ("onset", "onset_at"),
    ("paged", "paged_at"),
    ("mitigated", "mitigated_at"),
    ("recovered", "recovered_at"),
    ("resolved", "resolved_at"),
)
# How much of a plot's width a mark's label takes at most, in percent: without the time, and with it, on a phone.
_LABEL, _LABEL_WITH_TIME = 20.0, 30.0
_MESSAGE_KEYS = ("message", "msg", "event", "body")
_LEVEL_KEYS = ("severity", "severity_text", "level", "detected_level")


def write_bundle(evidence: dict[str, Any], runbook: str | None, folder: Path, profiles: Sequence[Path] = ()) -> Path:
    """Write evidence.json and report.html into `folder`, which must be new, and copy the profiles there.

    Returns the report's path.
    """
    folder.mkdir(parents=True)
    for profile in profiles:
        shutil.copyfile(profile, folder / profile.name)
    text = json.dumps(evidence, indent=1, ensure_ascii=False, allow_nan=False)
    (folder / "evidence.json").write_text(text + "\n", encoding="utf-8")
    report = folder / "report.html"
    report.write_text(emit_report(evidence, runbook, [profile.name for profile in profiles]), encoding="utf-8")
    return report


def emit_report(evidence: dict[str, Any], runbook: str | None = None, profiles: Sequence[str] = ()) -> str:
    """Evidence (and the runbook's markdown) → one HTML document; only its links to `profiles` need what lies beside."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"link": emit_link, "moment": emit_moment, "day": emit_day, "offset": emit_offset}
    moments = evidence["moments"]
    onset_at = moments["onset_at"]
    zero = onset_at if onset_at is not None else moments["started_at"]
    end = moments["ended_at"] or evidence["timeline"][-1]["at"]
    axis = Axis(moments["started_at"], max(end, moments["started_at"] + 1), zero)
    named = [(name, moments[key]) for name, key in _MOMENTS]
    return environment.get_template("report.html.j2").render(
        evidence=evidence,
        zero=zero,
        axis=axis,
        marks=axis.marks(named, _LABEL_WITH_TIME),
        shade=_shade(moments, axis),
        plots=_plots(evidence, axis, axis.marks(named, _LABEL)),
        trace=_trace(evidence["trace"]["spans"]),
        logs=[_log_row(line, zero) for line in evidence["logs"]],
        telling=[
            {**found, "lines": [_log_row(line, zero) for line in found["lines"]]}
            for found in evidence.get("telling", ())
            if found["lines"]
        ],
        mitigation_steps=_mitigation_steps(runbook),
        headline=emit_headline(evidence),
        figures=_figures(evidence),
        profiles=profiles,
    )


def emit_headline(evidence: dict[str, Any]) -> str:
    """The result in one sentence."""
    alert, failed = evidence["alert"], [claim for claim in evidence["claims"] if not claim["ok"]]
    if evidence["moments"]["onset_at"] is None:
        return "Nothing was broken: " + "; ".join(f"{claim['name']}: {claim['observed']}" for claim in failed) + "."
    if failed:
        rest = f", and {len(failed) - 1} more" if len(failed) > 1 else ""
        first = failed[0]
        return f"{first['name']}: {first['observed']}, wanted {first['wanted']}{rest}."
    if evidence["twin"]:
        return f"Nothing was broken, nobody was paged, and none of {len(evidence['signals'])} signals showed."
    return (
        f"{alert['name']} reached the pager {alert['fired_after_s']:.1f} s after onset, "
        f"{alert['deadline_s']:g} s were allowed; all {len(evidence['signals'])} signals showed, and the mitigation "
        "worked."
    )


def emit_moment(at: float) -> str:
    """Seconds since the epoch → the time of day in UTC, to the tenth of a second."""
    moment = datetime.fromtimestamp(at, UTC)
    return f"{moment:%H:%M:%S}.{moment.microsecond // 100_000}"


def emit_day(at: float) -> str:
    """Seconds since the epoch → the day in UTC."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d}"


def emit_link(url: Any) -> str:
    """`url` when it is one that a reader may safely follow, else nothing."""
    return url if isinstance(url, str) and urlsplit(url).scheme in ("http", "https") else ""


def _figures(evidence: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(value, name, remark) of the few numbers that sum the run up."""
    moments, alert, load = evidence["moments"], evidence["alert"], evidence["load"]
    figures = []
    if moments["onset_at"] is not None:
        fired = alert["fired_after_s"]
        value = "no page" if fired is None else f"{fired:.1f} s"
        allowed = "none wanted" if evidence["twin"] else f"{alert['deadline_s']:g} s allowed"
        figures.append((value, "onset to page", allowed))
        shown = sum(signal["ok"] for signal in evidence["signals"])
        what = "signals silent" if evidence["twin"] else "signals seen"
        figures.append((f"{shown} of {len(evidence['signals'])}", what, "in metrics, traces and logs"))
    if moments["recovered_at"] is not None:
        value = emit_offset(round(moments["recovered_at"] - moments["mitigated_at"], 1))
        figures.append((value, "mitigation to recovery", "by its own checks"))
    if load:
        bad = sum(route["bad"] for route in load["routes"].values())
        figures.append((f"{bad:,}", "requests failed", f"of {load['answered']:,} that clients sent"))
    return figures


def _shade(moments: dict[str, Any], axis: Axis) -> tuple[float, float] | None:
    """Where the fault was on: from onset to mitigation."""
    if moments["onset_at"] is None or moments["mitigated_at"] is None:
        return None
    begins = axis.x(moments["onset_at"])
    return begins, round(axis.x(moments["mitigated_at"]) - begins, 2)


def _plots(evidence: dict[str, Any], axis: Axis, marks: list[Mark]) -> list[Plot]:
    shade = _shade(evidence["moments"], axis)
    metrics = _client_metrics(evidence["load"]) + evidence["metrics"]
    return [build_plot(metric, axis, marks, shade) for metric in metrics]


def _client_metrics(load: dict[str, Any] | None) -> list[dict[str, Any]]:
    """What clients saw, second by second: the view that no telemetry of the system can distort."""
    if not load:
        return []

    started_at, seconds = load["started_at"], load["seconds"]

    def series(name: str, key: str, divisor: float) -> dict[str, Any]:
        points = [
            [started_at + second["at_s"], None if second[key] is None else second[key] / divisor] for second in seconds
        ]
        return {"labels": {"what": name}, "points": points}

    answers = [series(name, name, 1) for name in ("good", "refused", "bad")]
    latencies = [series("half within", "p50_ms", 1e3), series("99 % within", "p99_ms", 1e3)]
    query = "seen by the load generator, second by second"
    return [
        {"name": "What clients got", "query": query, "unit": "per s", "threshold": None, "series": answers},
        {"name": "How long clients waited", "query": query, "unit": "s", "threshold": None, "series": latencies},
    ]


def _trace(spans: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Rows of the waterfall, positions in percent of the trace's length."""
    if not spans:
        return None
    start = min(span["start_s"] for span in spans)
    length = max(max(span["start_s"] + span["duration_s"] for span in spans) - start, 1e-6)
    services = list(dict.fromkeys(span["service"] for span in spans))
    rows = []
    for span in spans:
        left = min(round(100 * (span["start_s"] - start) / length, 2), 99.6)
        width = round(max(100 * span["duration_s"] / length, 0.4), 2)
        rows.append(
            {
                **span,
                "colour": services.index(span["service"]) % COLOURS,
                "left": left,
                "width": width,
                "beside": "after" if left + width < 85 else "before" if left > 15 else "within",
                "took": emit_value(span["duration_s"], "s"),
                "why": _failure(span),
            }
        )
    ticks = [(100 * part / 4, emit_value(length * part / 4, "s")) for part in range(5)]
    return {"rows": rows, "took": emit_value(length, "s"), "ticks": ticks}


def _failure(span: dict[str, Any]) -> str:
    """Why a span failed, in the words of its exception, description or status."""
    if not span["failed"]:
        return ""
    for event in span["events"]:
        if "exception.type" in event:
            return f"{event['exception.type']}: {event.get('exception.message', '')}".rstrip(": ")
    tags = span["tags"]
    status = tags.get("http.response.status_code")
    return tags.get("otel.status_description") or (f"HTTP {status}" if status else tags.get("error.type", "failed"))


def _log_row(line: dict[str, Any], zero: float) -> dict[str, Any]:
    """A log line as service, level, message and the fields it came with; JSON or not."""
    try:
        document = json.loads(line["text"])
    except ValueError:
        document = {}
    document = document if isinstance(document, dict) else {}
    fields = {**line["labels"], **{str(key): str(value) for key, value in document.items()}}
    message = next((str(document[key]) for key in _MESSAGE_KEYS if document.get(key)), line["text"])
    level = next((fields[key] for key in _LEVEL_KEYS if fields.get(key)), "")
    return {
        "at": line["at"],
        "offset": line["at"] - zero,
        "service": fields.get("service_name", fields.get("service.name", "")),
        "level": level.lower(),
        "message": message,
        "fields": sorted(fields.items()),
    }


def _mitigation_steps(runbook: str | None) -> Markup | None:
    """The `## Mitigation` section of a runbook as HTML; raw HTML in it is shown as text."""
    if runbook is None:
        return None
    found = re.search(r"^## Mitigation[^\n]*\n(.*?)(?=^## |\Z)", runbook, re.MULTILINE | re.DOTALL)
    text = found[1] if found else runbook
    return Markup(MarkdownIt("commonmark", {"html": False}).enable("table").render(text))
