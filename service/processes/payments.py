"""Payments: charges, and nothing else."""

from __future__ import annotations

from fastapi import FastAPI

from service import faults as fault
from service import health
from service.app import assemble, build_telemetry
from service.edge.gate import Gate
from service.payments import http as payments_http
from service.payments.repository import SqlChargeRepository
from service.processes.callers import build_sign_in
from service.processes.identity import build_issuer_client
from service.processes.pools import build_databases
from service.settings import Settings


def build_app(settings: Settings) -> FastAPI:
    """Charges. ``app.state.health`` is what the server drains by."""
    tel = build_telemetry(settings)
    databases = build_databases(settings, tel)
    state = health.Health()
    state.register("postgres", databases.ping_primary)
    issuer = build_issuer_client(tel)
    sign_in = build_sign_in(issuer, settings)
    if sign_in is not None:  # one that comes up while the issuer is away leaves its predecessor in place
        state.register("issuer", sign_in.ping)
    faults = fault.Faults(fault.PAYMENTS_FAULTS, allowed=settings.faults_allowed, seed=settings.fault_seed)
    return assemble(
        "signalbox payments",
        settings,
        tel,
        state,
        faults,
        routers=[payments_http.build_router(SqlChargeRepository(databases), Gate(None, sign_in))],
        disturb=faults.disturb_charge,
        closing=[issuer.aclose, databases.dispose],
    )
