"""What a page is, and how a notice from Alertmanager changes it.

Owns: the webhook format (version 4), the identity of a page (fingerprint and start) and the rules for repeated,
late and overtaken notices. Refuses to know: storage, HTTP, links and the present time.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal, get_args

State = Literal["firing", "resolved"]

# A firing notice this soon after its own resolution is a delivery that was overtaken on the way. Later it is a
# true return: Alertmanager resolves an alert that Prometheus stopped refreshing, and fires it again with the
# same start once Prometheus is back, which takes at least its group_wait.
LATE_DELIVERY_S = 10.0

# Alert texts come from outside: what is kept of one is bounded.
MAX_TEXT_CHARS = 4_096
MAX_ENTRIES = 64
YEAR_10000 = 253_402_300_800.0  # the first second that RFC 3339 cannot write

# The annotation that says why the pager itself ended a page.
CLOSED = "closed_by_pager"

# Control characters, and the marks that turn the direction of text round and so can disguise it.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff]")


class NoticeError(ValueError):
    """A webhook body is not what Alertmanager sends; the text says where and why."""


@dataclass(frozen=True)
class Notice:
    """One alert of one webhook call. Times are seconds since the epoch."""

    fingerprint: str
    state: State
    starts_at: float
    ends_at: float | None
    labels: dict[str, str]
    annotations: dict[str, str]


@dataclass(frozen=True)
class Page:
    """One episode of one alert, from its first firing to its end. Times are seconds since the epoch."""

    id: str
    fingerprint: str
    state: State
    starts_at: float
    received_at: float
    updated_at: float
    resolved_at: float | None
    trace_id: str | None
    labels: dict[str, str]
    annotations: dict[str, str]

    @property
    def alert(self) -> str:
        return self.labels["alertname"]

    @property
    def tier(self) -> str:
        """`page` unless the alert says otherwise: somebody routed it here."""
        return self.labels.get("tier", "page")

    def to_document(self) -> dict[str, Any]:
        """The page as the API shows it, without links."""
        return {
            "id": self.id,
            "fingerprint": self.fingerprint,
            "alert": self.alert,
            "tier": self.tier,
            "state": self.state,
            "service": self.labels.get("service", ""),
            "slo": self.labels.get("slo", ""),
            "summary": self.annotations.get("summary", ""),
            "description": self.annotations.get("description", ""),
            "impact": self.annotations.get("impact", ""),
            "starts_at": emit_time(self.starts_at),
            "received_at": emit_time(self.received_at),
            "updated_at": emit_time(self.updated_at),
            "resolved_at": None if self.resolved_at is None else emit_time(self.resolved_at),
            "budget_remaining": self.annotations.get("budget_remaining", ""),
            "trace_id": self.trace_id,
            "closed_by_pager": self.annotations.get(CLOSED),
            "labels": self.labels,
            "annotations": self.annotations,
        }


def build_page_id(fingerprint: str, starts_at: float) -> str:
    """The same for every notice of one episode, whoever delivers it and however often."""
    return hashlib.sha256(f"{fingerprint}@{round(starts_at * 1e6)}".encode()).hexdigest()[:16]


def build_page(notice: Notice, received_at: float) -> Page:
    """The page that a first notice opens. A first notice may already be the resolution."""
    return Page(
        id=build_page_id(notice.fingerprint, notice.starts_at),
        fingerprint=notice.fingerprint,
        state=notice.state,
        starts_at=notice.starts_at,
        received_at=received_at,
        updated_at=received_at,
        resolved_at=_end(notice, received_at),
        trace_id=None,
        labels=notice.labels,
        annotations=notice.annotations,
    )


def update_page(page: Page, notice: Notice, received_at: float) -> Page:
    """The page after a further notice of the same episode. A firing notice that its own resolution overtook
    changes nothing."""
    if page.state == "resolved" and notice.state == "firing" and received_at - page.updated_at < LATE_DELIVERY_S:
        return page
    return replace(
        page,
        state=notice.state,
        updated_at=received_at,
        resolved_at=_end(notice, received_at),
        labels=notice.labels,
        annotations=notice.annotations,
    )


def close_page(page: Page, ended_at: float, received_at: float) -> Page:
    """The page ended by a later episode of the same alert: its own resolution was never delivered."""
    return replace(page, state="resolved", resolved_at=ended_at, updated_at=received_at)


def parse_webhook(body: Any) -> tuple[list[Notice], list[str]]:
    """The notices in a webhook body, and what was wrong with the alerts that had to be left out.

    One bad alert does not cost the others of its group: Alertmanager never repeats what was answered with 4xx.
    Raises NoticeError when the envelope is wrong or no alert in it is usable.
    """
    if not isinstance(body, dict):
        raise NoticeError("the body is not a JSON object")
    version = body.get("version", "4")
    if version != "4":
        raise NoticeError(f"webhook version {version!r} is not known here; this pager reads version 4")
    alerts = body.get("alerts")
    if not isinstance(alerts, list) or not alerts:
        raise NoticeError("alerts is not a list with at least one alert")
    notices: list[Notice] = []
    errors: list[str] = []
    for position, alert in enumerate(alerts):
        try:
            notices.append(parse_alert(alert, body.get("status")))
        except NoticeError as error:
            errors.append(f"alerts[{position}]: {error}")
    if not notices:
        raise NoticeError("; ".join(errors[:5]))
    return notices, errors


def parse_alert(alert: Any, group_status: Any = None) -> Notice:
    """The notice in one alert of a webhook body. Raises NoticeError."""
    if not isinstance(alert, dict):
        raise NoticeError("not a JSON object")
    state = alert.get("status", group_status)
    if state not in get_args(State):
        raise NoticeError(f"status is {state!r:.60}, not firing or resolved")
    labels = _parse_texts(alert, "labels")
    if not labels.get("alertname"):
        raise NoticeError("labels.alertname is missing")
    starts_at = _parse_moment(alert, "startsAt")
    if starts_at is None:
        raise NoticeError("startsAt is missing")
    fingerprint = alert.get("fingerprint") or _fingerprint(labels)
    if not isinstance(fingerprint, str):
        raise NoticeError("fingerprint is not a text")
    return Notice(
        fingerprint=_clean(fingerprint)[:64],
        state=state,
        starts_at=starts_at,
        ends_at=_parse_moment(alert, "endsAt") if state == "resolved" else None,
        labels=labels,
        annotations=_parse_texts(alert, "annotations"),
    )


def parse_time(text: str) -> float:
    """Seconds since the epoch of an RFC 3339 time. Raises ValueError; a time without a zone is one."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return moment.timestamp()


def emit_time(moment_s: float) -> str:
    """RFC 3339 in UTC with milliseconds."""
    return datetime.fromtimestamp(moment_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _parse_texts(alert: dict[str, Any], key: str) -> dict[str, str]:
    texts = alert.get(key) or {}
    if not isinstance(texts, dict) or not all(isinstance(value, str) for value in texts.values()):
        raise NoticeError(f"{key} is not an object of texts")
    return {_clean(name)[:256]: _clean(texts[name]) for name in list(texts)[:MAX_ENTRIES]}


def _parse_moment(alert: dict[str, Any], key: str) -> float | None:
    """None for an absent time and for Go's zero time, which is how Alertmanager writes an absent one."""
    text = alert.get(key)
    if text is None or (isinstance(text, str) and text.startswith("0001-01-01T")):
        return None
    try:
        moment = parse_time(text)
    except (TypeError, ValueError, OverflowError):
        raise NoticeError(f"{key} is {text!r:.60}, not an RFC 3339 time") from None
    if not 0 <= moment < YEAR_10000:
        raise NoticeError(f"{key} is {text!r:.60}, out of range")
    return moment


def _fingerprint(labels: dict[str, str]) -> str:
    return hashlib.sha256(repr(sorted(labels.items())).encode()).hexdigest()[:16]


def _clean(text: str) -> str:
    cut = text if len(text) <= MAX_TEXT_CHARS else text[: MAX_TEXT_CHARS - 1] + "…"
    return _UNPRINTABLE.sub("�", cut)


def _end(notice: Notice, received_at: float) -> float | None:
    if notice.state == "firing":
        return None
    return received_at if notice.ends_at is None else max(notice.ends_at, notice.starts_at)
