"""The development issuer. It has no database, so nothing that speaks to one is loaded."""

from __future__ import annotations

import secrets

from fastapi import FastAPI

from service import faults as fault
from service import health
from service.app import assemble, build_telemetry
from service.issuer import http as issuer_http
from service.issuer.keys import SigningKeys
from service.settings import Settings, SettingsRefused


def build_app(settings: Settings) -> FastAPI:
    """The development issuer. ``app.state.health`` is what the server drains by. Raises ``SettingsRefused``."""
    if settings.environment != "development":
        raise SettingsRefused(["SIGNALBOX_ENVIRONMENT: the development issuer is for development only"])
    tel = build_telemetry(settings)
    # without a secret of the installation's own, nobody's client credentials are right
    client = settings.client_id, settings.client_secret or secrets.token_urlsafe()
    return assemble(
        "signalbox development issuer",
        settings,
        tel,
        health.Health(),
        fault.Faults((), allowed=settings.faults_allowed, seed=settings.fault_seed),
        routers=[issuer_http.build_router(SigningKeys(), settings.issuer_url, settings.audience, client)],
        closing=[],
    )
