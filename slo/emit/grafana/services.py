"""grafana/dashboards/service-<name>.json: what one service has promised, a row for each promise."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from slo.emit.alerts import percent
from slo.emit.grafana.budgets import GENERATED
from slo.emit.grafana.frame import emit_dashboard
from slo.emit.grafana.panels import Leads
from slo.emit.grafana.promise import promise_panels
from slo.model import Promise, Service

LONGEST_UID = 40  # Grafana's limit


def emit_services(promises: Iterable[Promise]) -> dict[str, str]:
    """Path below the output folder → JSON, one a service."""
    of_service: dict[str, list[Promise]] = {}
    for promise in promises:
        of_service.setdefault(promise.service.name, []).append(promise)
    return {
        f"grafana/dashboards/service-{name}.json": _emit(kept[0].service, kept)
        for name, kept in sorted(of_service.items())
    }


def dashboard_uid(service: Service) -> str:
    """`signalbox-service-shop`. A longer one than Grafana takes ends in a digest, so that no two services share one."""
    uid = f"signalbox-service-{service.name}"
    if len(uid) <= LONGEST_UID:
        return uid
    digest = hashlib.sha256(service.name.encode()).hexdigest()[:8]
    return f"{uid[: LONGEST_UID - len(digest) - 1].rstrip('-')}-{digest}"


def _emit(service: Service, promises: list[Promise]) -> str:
    rows = [(f"{promise.title}: {percent(float(promise.objective))}", promise_panels(promise)) for promise in promises]
    job = next((promise.job for promise in promises if promise.job), "gateway")
    return emit_dashboard(
        dashboard_uid(service),
        f"{service.title}: promises",
        f"{service.description} {GENERATED}".strip(),
        ["slo", "service"],
        rows,
        Leads(job, f'{{service_name="{job}"}} | severity_text="ERROR"'),
        since="now-6h",
    )
