"""alertmanager/alertmanager.yml: who hears of what, when, and what keeps quiet meanwhile.

Owns routes by tier, inhibition and the times of grouping. Secrets are named by file, never written. The same for every
set of promises: alerts bring their own labels.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from slo.durations import format_duration
from slo.emit.yaml_text import emit_yaml

PAGER_URL_FILE = "/run/secrets/pager_url"
DEADMAN_URL_FILE = "/run/secrets/pager_deadman_url"

# group_wait is part of the time to detect (slo.md: scrape + evaluation + group_wait), so a page waits only as long as
# the evaluation that may bring a second alert of the same promise. Tickets are read in office hours.
PAGE = {
    "group_wait": timedelta(seconds=5),
    "group_interval": timedelta(seconds=30),
    "repeat_interval": timedelta(hours=1),
}
TICKET = {
    "group_wait": timedelta(minutes=1),
    "group_interval": timedelta(minutes=5),
    "repeat_interval": timedelta(days=1),
}
# Alertmanager repeats at the first flush after repeat_interval: every 75 s. The pager gives up after 150 s.
HEARTBEAT = {
    "group_wait": timedelta(seconds=0),
    "group_interval": timedelta(seconds=15),
    "repeat_interval": timedelta(minutes=1),
}


def emit_alertmanager(clock: float = 1.0) -> str:
    """The whole configuration, with all times divided by the clock."""
    document = {
        "route": {
            "receiver": "page",  # an alert without a tier is a mistake that somebody should see
            "group_by": ["service", "slo"],
            **_times(PAGE, clock),
            "routes": [
                {"receiver": "deadman", "matchers": ['tier = "watchdog"'], **_times(HEARTBEAT, clock)},
                {"receiver": "page", "matchers": ['tier = "page"'], **_times(PAGE, clock)},
                {"receiver": "ticket", "matchers": ['tier = "ticket"'], **_times(TICKET, clock)},
            ],
        },
        # The fast burn of a promise says all that its slow burn would. Missing data says something else: it silences
        # nothing, and nothing silences it.
        "inhibit_rules": [
            {
                "source_matchers": ['tier = "page"', 'alertname =~ ".+BurnPage"'],
                "target_matchers": ['tier = "ticket"', 'alertname =~ ".+BurnTicket"'],
                "equal": ["service", "slo"],
            }
        ],
        "receivers": [
            _webhook("page", PAGER_URL_FILE, send_resolved=True),
            _webhook("ticket", PAGER_URL_FILE, send_resolved=True),
            _webhook("deadman", DEADMAN_URL_FILE, send_resolved=False),
        ],
    }
    return emit_yaml(document)


def _times(times: dict[str, timedelta], clock: float) -> dict[str, str]:
    return {name: format_duration(time / clock) for name, time in times.items()}


def _webhook(name: str, url_file: str, *, send_resolved: bool) -> dict[str, Any]:
    return {"name": name, "webhook_configs": [{"url_file": url_file, "send_resolved": send_resolved}]}
