"""The metadata of an OpenSLO document: name, title, labels, and the annotations that are ours.

Owns the annotations below `signalbox.dev/` with their forms and defaults. Other people's annotations are left alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from slo.parse.fields import NAME, Fields

ANNOTATION = "signalbox.dev/"
_TEAM = re.compile(r"\w[\w .&/@+-]{0,62}")  # it is a label of alerts, which Prometheus reads as a template
# A page needs this many bad events in its long window: one error of a quiet night, or one client that retries it
# once, wakes nobody. At 99.9 % a single error would page while fewer than 69 events fall in the hour (1/T).
DEFAULT_MIN_EVENTS = 3
MOST_MIN_EVENTS = 1_000_000
# Zero traffic is a symptom only where something sends traffic all the time.
DEFAULT_LIVENESS = "absent"


@dataclass(frozen=True)
class Metadata:
    """What stands above the spec of a document, annotations only where they mean something."""

    name: str
    title: str
    team: str
    journey: str
    impact: str
    min_bad_events: int | None
    liveness: str
    depends_on: tuple[str, ...] = ()


def read_metadata(fields: Fields, *, kind: str = "") -> Metadata:
    """Read the metadata of any kind; an SLO and a Service have annotations of ours."""
    annotations = fields.mapping("annotations", required=False)
    ours: dict[str, str] = {}
    if annotations is not None:
        for key in annotations.names():
            if key.startswith(ANNOTATION):
                ours[key.removeprefix(ANNOTATION)] = _read_annotation(annotations, key, kind)
    name = fields.name("name")
    metadata = Metadata(
        name=name,
        title=fields.text("displayName", required=False) or name.replace("-", " ").capitalize(),
        team=_read_team(fields),
        journey=ours.get("journey", ""),
        impact=ours.get("impact", ""),
        min_bad_events=int(ours["min-events"]) if ours.get("min-events") else None,
        liveness=ours.get("liveness") or DEFAULT_LIVENESS,
        depends_on=tuple(name.strip() for name in ours.get("depends-on", "").split(",") if name.strip()),
    )
    fields.done()
    return metadata


def _read_team(fields: Fields) -> str:
    """The label `team`. Other labels are for people, one text or a list of texts each."""
    labels = fields.mapping("labels", required=False)
    if labels is None:
        return ""
    teams = {key: labels.texts(key) for key in labels.names()}.get("team", [])
    if len(teams) > 1:
        labels.problem("team", "field-form", "names several teams", "Name the one that gets the page")
    if teams and teams[0] and not _TEAM.fullmatch(teams[0]):
        remedy = "Choose at most 63 letters, digits, blanks and characters of _.&/@+-"
        labels.problem("team", "field-form", f"{teams[0][:70]!r} is no name of a team", remedy)
    return teams[0] if teams else ""


def _read_annotation(annotations: Fields, key: str, kind: str) -> str:
    forms = _FORMS.get(kind, {})
    form = forms.get(key.removeprefix(ANNOTATION))
    if form is None:
        known = "; ".join(
            f"on {'an' if kind == 'SLO' else 'a'} {kind}: {', '.join(f'{ANNOTATION}{name}' for name in names)}"
            for kind, names in _FORMS.items()
        )
        annotations.problem(key, "field-unknown", "is not read here", f"Known {known}")
        return ""
    return annotations.parsed(key, form) or ""


def _parse_min_events(text: str) -> str:
    if not (text.isascii() and text.isdecimal() and len(text) <= 7 and 1 <= int(text) <= MOST_MIN_EVENTS):
        raise ValueError(f"{text[:20]!r} is not a count of bad events; write a whole number of at least 1, in quotes")
    return text


def _parse_liveness(text: str) -> str:
    if text not in ("absent", "zero"):
        raise ValueError(f"{text[:20]!r} is not known; write absent, or zero where traffic never stops")
    return text


def _parse_names(text: str) -> str:
    for name in text.split(","):
        if not NAME.fullmatch(name.strip()):
            raise ValueError(f"{name.strip()[:60]!r} is not the name of a Service; write `one, another`")
    return text


_FORMS: dict[str, dict[str, Callable[[str], str]]] = {
    "SLO": {
        "journey": str,
        "impact": str,
        "min-events": _parse_min_events,
        "liveness": _parse_liveness,
    },
    "Service": {"depends-on": _parse_names},
}
