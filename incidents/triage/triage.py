"""The whole way: windows → observation → deviations → ranked causes.

Owns the order, and the document. Does no work of its own.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from typing import Any

from incidents.observe import Backends
from incidents.triage.blame import blame_deviations
from incidents.triage.deviation import Deviation
from incidents.triage.figures import figure_deviations
from incidents.triage.lines import line_deviations, new_templates
from incidents.triage.observe import Observation, Reader, Say
from incidents.triage.rank import Cause, rank, unusual
from incidents.triage.repetition import hopeless_deviations, repetition_deviations
from incidents.triage.rules import Rules, read_rules
from incidents.triage.selftime import self_time_deviations
from incidents.triage.tree import Tree, learn_callees
from incidents.triage.versions import changes, version_deviations
from incidents.triage.windows import Windows

FORMAT = 1
UNREACHED = 0.9
"""How certain it is that a backend is down which gives no answer to triage itself."""
EVIDENCE = 6
"""Signs of one cause that are told."""


@dataclass(frozen=True)
class Triage:
    """What triage found."""

    windows: Windows
    causes: list[Cause]
    changes: list[str]
    missing: dict[str, str]
    no_baseline: bool
    took_s: float

    @property
    def told(self) -> list[Cause]:
        """The causes that are worth telling, the likeliest first."""
        return unusual(self.causes)


async def triage(backends: Backends, windows: Windows, say: Say = lambda _: None) -> Triage:
    """Read and rank. Raises nothing for a backend that does not answer: that is a finding."""
    started = time.monotonic()
    rules = read_rules()
    found = await Reader(backends, windows, rules, say).read()
    say("ranking")
    causes = rank(deviations(found, rules), rules)
    told = changes(found.builds) if found.builds and not found.no_baseline else []
    took_s = time.monotonic() - started
    return Triage(windows, causes, told, found.missing, found.no_baseline, round(took_s, 2))


def deviations(found: Observation, rules: Rules) -> list[Deviation]:
    """Everything that is not as it was."""
    now, before = [[Tree(spans) for spans in side] for side in found.traces]
    failing, failed_before = [[Tree(spans) for spans in side] for side in found.failing]
    callees = learn_callees([*now, *before, *failing, *failed_before])
    windows = (found.windows.now, found.windows.before)
    templates = new_templates(*found.lines, windows[1].length_s / windows[0].length_s)
    return [
        *(
            Deviation(name, "down", UNREACHED, "reach", why)
            for name, why in found.missing.items()
            if name in found.unreached
        ),
        *figure_deviations(found.figures, rules.topology),
        *(version_deviations(found.builds, rules) if found.builds else ()),
        *blame_deviations(failing, failed_before, windows, callees, rules),
        *self_time_deviations(now, before, callees, rules),
        *repetition_deviations(now, before, rules),
        *hopeless_deviations(failing, now, rules),
        *line_deviations(templates, rules),
    ]


def emit_document(found: Triage, alert: dict[str, Any] | None = None) -> dict[str, Any]:
    """The document of `triage --json`."""
    return {
        "format": FORMAT,
        "verdict": "unusual" if found.told else "nothing unusual",
        "alert": None
        if alert is None
        else {key: alert.get(key) for key in ("id", "alert", "tier", "starts_at", "trace_id")},
        "windows": {"now": asdict(found.windows.now), "before": asdict(found.windows.before)},
        "causes": [
            {"rank": number, **_cause(replace(cause, evidence=cause.evidence[:EVIDENCE]))}
            for number, cause in enumerate(found.told, 1)
        ],
        "explained": [_cause(cause) for cause in found.causes if cause not in found.told],
        "changes": found.changes,
        "missing": found.missing,
        "no_baseline": found.no_baseline,
        "took_s": found.took_s,
    }


def _cause(cause: Cause) -> dict[str, Any]:
    document: dict[str, Any] = asdict(cause)
    document["evidence"] = [{**asdict(sign), "strength": round(sign.strength, 3)} for sign in cause.evidence]
    return {**document, "score": round(cause.score, 3), "raw": round(cause.raw, 3)}
