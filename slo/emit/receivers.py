"""A notification target → a receiver of Alertmanager.

Owns what each system is sent and under which keys; the words are those of `notification.tmpl`. Secrets are named by
file. Refuses to know who hears of what.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from slo.alerting import Target, TargetKind

Settings = dict[str, Any]

TEMPLATE = Path(__file__).with_name("notification.tmpl")
SUBJECT = '{{ template "signalbox.subject" . }}'
TEXT = '{{ template "signalbox.text" . }}'
PAGE = '{{ if eq (index .CommonLabels "tier") "page" }}'
PAGES = '{{ template "signalbox.pages" . }}'
# What a reader may click, and the template that makes the address.
LINKS = {
    "Trace": '{{ template "signalbox.trace" . }}',
    "Logs of it": '{{ template "signalbox.logs" . }}',
    "Runbook": '{{ template "signalbox.runbook" . }}',
    "Dashboard": '{{ template "signalbox.dashboard" . }}',
    "Silence": '{{ template "signalbox.silence" . }}',
    "Changes": '{{ template "signalbox.changes" . }}',
}
MOST_BUTTONS = 5  # of a Slack attachment; the title leads to the page, which has them all
# One fact a line; what a system shows beside the subject.
FACTS = {
    "Broken": "signalbox.broken",
    "For whom": "signalbox.impact",
    "Since": "signalbox.since",
    "Budget left": "signalbox.budget",
    "Lasts for": "signalbox.lasts",
    "Worst": "signalbox.worst",
    "Suspected": "signalbox.suspect",
    "Changed": "signalbox.changed",
}


@cache
def notification_templates() -> str:
    """The templates that all receivers use, to be loaded by Alertmanager."""
    return TEMPLATE.read_text()


def emit_receiver(name: str, target: Target, *, send_resolved: bool) -> Settings:
    """One receiver of one target."""
    key, settings = _KINDS[target.kind]
    return {"name": name, key: [{"send_resolved": send_resolved, **settings(target)}]}


def _pagerduty(target: Target) -> Settings:
    address = target.setting("address")
    return {
        "routing_key_file": target.secret_file,
        **({"url": address} if address else {}),
        "client": "Signalbox",
        "client_url": PAGES,
        "description": SUBJECT,
        "severity": PAGE + "critical{{ else }}warning{{ end }}",
        "class": '{{ index .CommonLabels "alertname" }}',
        "component": '{{ index .CommonLabels "slo" }}',
        "group": '{{ index .CommonLabels "service" }}',
        "links": [{"href": href, "text": text} for text, href in LINKS.items()],
        "details": _facts() | {"firing": TEXT, "num_firing": "{{ .Alerts.Firing | len }}"},
    }


def _opsgenie(target: Target) -> Settings:
    address = target.setting("address")
    return {
        "api_key_file": target.secret_file,
        **({"api_url": address} if address else {}),
        "message": SUBJECT,
        "description": TEXT,
        "source": PAGES,
        "entity": '{{ index .CommonLabels "service" }}',
        "priority": PAGE + "P1{{ else }}P3{{ end }}",
        "details": _facts() | LINKS,
        "update_alerts": True,
    }


def _slack(target: Target) -> Settings:
    channel = target.setting("channel")
    return {
        "api_url_file": target.secret_file,
        **({"channel": channel} if channel else {}),
        "color": '{{ if eq .Status "resolved" }}good{{ else }}' + PAGE + "danger{{ else }}warning{{ end }}{{ end }}",
        "title": SUBJECT,
        "title_link": PAGES,
        "text": '{{ template "signalbox.slack" . }}',
        "fallback": SUBJECT,
        "actions": [{"type": "button", "text": text, "url": url} for text, url in list(LINKS.items())[:MOST_BUTTONS]],
    }


def _email(target: Target) -> Settings:
    username = target.setting("username")
    return {
        "to": target.setting("to"),
        "from": target.setting("from"),
        "smarthost": target.setting("smarthost"),
        **({"auth_username": username} if username else {}),
        **({"auth_password_file": target.secret_file} if target.secret_file else {}),
        # A mail server on the same machine speaks in the clear; every other one has to encrypt.
        "require_tls": target.setting("smarthost").rpartition(":")[0] not in ("localhost", "127.0.0.1"),
        "headers": {"Subject": SUBJECT},
        "text": TEXT,
        "html": '{{ template "signalbox.html" . }}',
    }


def _webhook(target: Target) -> Settings:
    return {"url_file": target.secret_file}


def _facts() -> dict[str, str]:
    return {name: f'{{{{ template "{template}" . }}}}' for name, template in FACTS.items()}


_KINDS: dict[TargetKind, tuple[str, Callable[[Target], Settings]]] = {
    "pagerduty": ("pagerduty_configs", _pagerduty),
    "opsgenie": ("opsgenie_configs", _opsgenie),
    "slack": ("slack_configs", _slack),
    "email": ("email_configs", _email),
    "webhook": ("webhook_configs", _webhook),
}
