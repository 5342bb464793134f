"""Payments: charges, and nothing else."""

from __future__ import annotations

from fastapi import FastAPI

from service import faults as fault
from service import health
from service.app import assemble, build_telemetry
from service.payments import http as payments_http
from service.payments.repository import SqlChargeRepository
from service.processes.pools import build_databases
from service.settings import Settings


def build_app(settings: Settings) -> FastAPI:
    """Charges. ``app.state.health`` is what the server drains by."""
    tel = build_telemetry(settings)
    databases = build_databases(settings, tel)
    state = health.Health()
    state.register("postgres", databases.ping_primary)
    faults = fault.Faults(fault.PAYMENTS_FAULTS, allowed=settings.faults_allowed, seed=settings.fault_seed)
    return assemble(
        "signalbox payments",
        settings,
        tel,
        state,
        faults,
        routers=[payments_http.build_router(SqlChargeRepository(databases))],
        disturb=faults.disturb_charge,
        closing=[databases.dispose],
    )
