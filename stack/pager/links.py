"""Where a page leads.

Owns: the address of each next step from a page, and what is left out when a target is not configured. Refuses to
know: how the targets look, and any address that was not configured.
"""

from __future__ import annotations

import re
from urllib.parse import quote

from stack.pager.deadman import FINGERPRINT
from stack.pager.page import Page
from stack.pager.settings import Settings

RUNBOOK_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,99}")
_PLAIN_LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LEAD_S = 3_600.0  # dashboards open an hour before the alert


def build_links(page: Page, settings: Settings, own: str) -> dict[str, str | None]:
    """Links of a page; None where one leads nowhere. `own` goes before the pager's own paths: its public URL for
    readers elsewhere, its base path for its own web pages."""
    trace_id = page.trace_id
    at = round(page.starts_at)
    return {
        "page": f"{own}/pages/{page.id}",
        "runbook": f"{own}/runbooks/{page.alert}" if RUNBOOK_NAME.fullmatch(page.alert) else None,
        "dashboard": _dashboard(page, settings) or f"{own}/pages/{page.id}#figures",
        "trace": f"{own}/traces/{trace_id}" if trace_id else None,
        "jaeger": build_jaeger_link(trace_id, settings) if trace_id else None,
        "logs": f"{own}/logs/{trace_id}?at={at}" if trace_id else None,
        "silence": _silence(page, settings),
    }


def build_jaeger_link(trace_id: str, settings: Settings) -> str | None:
    """The trace in Jaeger's own UI."""
    return f"{settings.jaeger_public_url}/trace/{trace_id}" if settings.jaeger_public_url else None


def _dashboard(page: Page, settings: Settings) -> str | None:
    """The alert's Grafana dashboard at the time of the alert, where there is a Grafana."""
    path = page.annotations.get("dashboard", "")
    if not settings.grafana_public_url or not path.startswith("/") or path.startswith(("//", "/\\")):
        return None
    start = round((page.starts_at - _LEAD_S) * 1000)
    end = "now" if page.resolved_at is None else round((page.resolved_at + _LEAD_S) * 1000)
    return f"{settings.grafana_public_url}{path}{'&' if '?' in path else '?'}from={start}&to={end}"


def _silence(page: Page, settings: Settings) -> str | None:
    """Alertmanager's form for a new silence of exactly this alert. Not for the pager's own alert, which
    Alertmanager never sees."""
    if not settings.alertmanager_public_url or page.fingerprint == FINGERPRINT or page.state == "resolved":
        return None
    matchers = ",".join(f"{_label(name)}={emit_text(value)}" for name, value in sorted(page.labels.items()))
    return f"{settings.alertmanager_public_url}/#/silences/new?filter={quote('{' + matchers + '}', safe='')}"


def _label(name: str) -> str:
    return name if _PLAIN_LABEL.fullmatch(name) else emit_text(name)


def emit_text(text: str) -> str:
    """A text as PromQL and Alertmanager's matchers quote it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
