"""An AlertNotificationTarget → `slo.alerting.Target`.

Owns the annotations that say how to reach one, the writing of quiet hours, and that a secret is never in a definition:
what is secret is named by the file that holds it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import cast, get_args
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from slo.alerting import QuietHours, Span, Target, TargetKind
from slo.parse.fields import NAME, Fields
from slo.parse.metadata import ANNOTATION
from slo.periods import Severity

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_MIN = 24 * 60
RESERVED = ("deadman", "page", "ticket")
RESERVED_ENDING = "-firing-only"  # of the receivers that do not hear of the end
_SPAN = re.compile(r"(?P<first>\w{3})(?:-(?P<last>\w{3}))? (?P<start>\d\d:\d\d)-(?P<end>\d\d:\d\d)", re.IGNORECASE)
QUIET_FORM = "write `Mon-Fri 18:00-08:00, Sat-Sun 00:00-24:00 Europe/Berlin`"
_ADDRESS = re.compile(r"[^\s@<>,;\"']+@[^\s@<>,;\"']+")
_HOST_PORT = re.compile(r"[A-Za-z0-9.-]+:[0-9]{1,5}")
_CHANNEL = re.compile(r"[#@]?[\w.-]{1,80}")
_PATH = re.compile(r"/[A-Za-z0-9._/-]{1,200}")
# Words that only the value of a secret would be written under.
_SECRETS = re.compile(r".*(secret|token|password|passwd|credential|api-?key|routing-?key|service-?key|webhook-?url).*")


def read_target(metadata: Fields, spec: Fields) -> Target | None:
    """Read the metadata and the spec of a target; None when a problem was filed."""
    spec.text("description", required=False)
    kind = spec.choice("target", get_args(TargetKind))
    spec.done()
    name = metadata.name("name")
    if name in RESERVED or name.endswith(RESERVED_ENDING):
        metadata.problem("name", "name-taken", f"{name!r} is a receiver of the compiler's own", "Choose another name")
    metadata.text("displayName", required=False)
    teams, tiers = _read_labels(metadata)
    annotations = metadata.mapping("annotations", required=False)
    settings = _read_settings(metadata, annotations, kind) if kind else None
    metadata.done()
    if kind is None or settings is None or not name:
        return None
    secret_file, quiet = settings.pop("secret-file", ""), settings.pop("quiet-hours", None)
    return Target(
        name,
        cast(TargetKind, kind),
        str(secret_file or ""),
        tuple(sorted((key, str(value)) for key, value in settings.items())),
        teams,
        cast(tuple[Severity, ...], tiers),
        cast(QuietHours | None, quiet),
    )


def parse_quiet_hours(text: str) -> QuietHours:
    """`Mon-Fri 18:00-08:00, Sun 00:00-24:00 Europe/Berlin`. A span over midnight ends on the next day. Raises
    ValueError."""
    days, _, zone = text.strip().rpartition(" ")
    try:
        ZoneInfo(zone)
    except (OSError, ValueError, KeyError):  # the last is the parent of ZoneInfoNotFoundError
        raise ValueError(f"{zone[:60]!r} is no time zone; {QUIET_FORM}") from None
    spans: list[Span] = []
    for part in days.split(","):
        found = _SPAN.fullmatch(part.strip())
        if not found:
            raise ValueError(f"cannot read {part.strip()[:60]!r}; {QUIET_FORM}")
        spans += _spans(found)
    return QuietHours(zone, tuple(spans))


def _spans(found: re.Match[str]) -> list[Span]:
    first, last = _day(found["first"]), _day(found["last"] or found["first"])
    start, end = _minutes(found["start"]), _minutes(found["end"])
    if start in (end, DAY_MIN):
        raise ValueError(f"{found[0]!r} has no length; {QUIET_FORM}")
    days = [(first + offset) % 7 for offset in range((last - first) % 7 + 1)]
    if start < end:
        return _runs(days, start, end)
    tonight = _runs(days, start, DAY_MIN)
    return tonight + (_runs([(day + 1) % 7 for day in days], 0, end) if end else [])


def _runs(days: list[int], start_min: int, end_min: int) -> list[Span]:
    """Days in a row, cut where the week begins anew."""
    spans: list[Span] = []
    for day in sorted(days):
        if spans and spans[-1].last == day - 1:
            spans[-1] = Span(spans[-1].first, day, start_min, end_min)
        else:
            spans.append(Span(day, day, start_min, end_min))
    return spans


def _day(text: str) -> int:
    if text.lower() not in DAYS:
        raise ValueError(f"{text!r} is no weekday; {QUIET_FORM}")
    return DAYS.index(text.lower())


def _minutes(text: str) -> int:
    hours, minutes = int(text[:2]), int(text[3:])
    if minutes > 59 or hours * 60 + minutes > DAY_MIN:
        raise ValueError(f"{text!r} is no time of day; {QUIET_FORM}")
    return hours * 60 + minutes


def _read_labels(metadata: Fields) -> tuple[tuple[str, ...], tuple[str, ...]]:
    labels = metadata.mapping("labels", required=False)
    if labels is None:
        return (), ()
    teams = labels.words("team")
    tiers = labels.words("tier")
    for team in teams:
        if not NAME.fullmatch(team):
            labels.problem("team", "field-form", f"{team[:60]!r} is not the name of a team", "Write it as in Services")
    for tier in tiers:
        if tier not in get_args(Severity):
            labels.problem("tier", "field-form", f"{tier[:60]!r} is no tier", "Write page, ticket or [page, ticket]")
    return tuple(teams), tuple(tiers)


def _read_settings(metadata: Fields, annotations: Fields | None, kind: str) -> dict[str, object] | None:
    forms, needed = _SETTINGS[kind]
    forms = {**forms, "secret-file": _parse_path, "quiet-hours": parse_quiet_hours}
    values: dict[str, object] = {}
    wrong = False
    given = [key for key in annotations.names() if key.startswith(ANNOTATION)] if annotations else []
    for key in given:
        assert annotations is not None
        name = key.removeprefix(ANNOTATION)
        if name not in forms:
            wrong = True
            if _SECRETS.fullmatch(name):
                remedy = f"Put it into a file and write the file's path as {ANNOTATION}secret-file"
                annotations.problem(key, "secret-literal", "a secret does not belong in a definition", remedy)
            else:
                known = ", ".join(f"{ANNOTATION}{known}" for known in forms)
                annotations.problem(key, "field-unknown", f"is not read for {kind}", f"Known: {known}")
            continue
        values[name] = annotations.parsed(key, forms[name])
        wrong = wrong or values[name] is None
    for name in needed:
        if ANNOTATION + name not in given:
            wrong = True
            what = f"a target of kind {kind} needs the annotation {ANNOTATION}{name}"
            metadata.problem("annotations", "field-missing", what, "Add it")
    return None if wrong else values


def _parse_path(text: str) -> str:
    if not _PATH.fullmatch(text) or ".." in text:
        raise ValueError("is not the absolute path of a file; put the secret into a file such as /run/secrets/name")
    return text


def _parse_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{text[:60]!r} is not an address; write https://host/path")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("may carry a secret; write the bare address, secrets go into the secret-file")
    return text


def _matching(form: re.Pattern[str], what: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if not form.fullmatch(text):
            raise ValueError(f"{text[:60]!r} is not {what}; correct it")
        return text

    return parse


_mail = _matching(_ADDRESS, "an e-mail address")
# Beside secret-file (which holds: PagerDuty's routing key, Opsgenie's API key, Slack's or the webhook's whole address,
# the password of the mail server): what may be set, and what must be.
_SETTINGS: dict[str, tuple[dict[str, Callable[[str], object]], tuple[str, ...]]] = {
    "pagerduty": ({"address": _parse_url}, ("secret-file",)),
    "opsgenie": ({"address": _parse_url}, ("secret-file",)),
    "slack": ({"channel": _matching(_CHANNEL, "a channel")}, ("secret-file",)),
    "email": (
        {
            "to": _mail,
            "from": _mail,
            "smarthost": _matching(_HOST_PORT, "host:port"),
            "username": _matching(re.compile(r"[^\s:]{1,100}"), "a user's name"),
        },
        ("to", "from", "smarthost"),
    ),
    "webhook": ({}, ("secret-file",)),
}
