"""Whether this process lives, has started, and should be given work.

Owns the three probes, the list of pings, and that a change of readiness is told. Knows no backend: what needs one
registers a ping for it. Only what the process cannot work without belongs in the list; a cache that degrades, or a
service downstream that all replicas share, would take every replica out at once for nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Literal

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from service import telemetry

Ping = Callable[[], Awaitable[object]]

# A probe that takes longer than the prober waits is a failed probe; gateways and orchestrators wait 1 to 2 s.
PING_TIMEOUT_S = 1.0
# A process's first connection takes longer than any later one; a backend that is away must not keep it from starting.
WARM_UP_TIMEOUT_S = 5.0


class HealthReport(BaseModel):
    """Answer of a probe. ``failing``: the pings that did not answer, each with the reason."""

    status: Literal["ok", "starting", "draining", "failing"]
    failing: dict[str, str] = {}


class Health:
    """State of one process. ``started`` is set by whoever starts it."""

    def __init__(self) -> None:
        self.started = False
        self.draining = False
        self._pings: dict[str, Ping] = {}
        self._drain_hooks: list[Callable[[], None]] = []
        self._failing: list[str] | None = None  # as told last

    def register(self, name: str, ping: Ping) -> None:
        """Make readiness depend on ``ping``: an awaitable that raises when what it pings is not usable."""
        if name in self._pings:
            raise ValueError(f"a ping named {name!r} is registered already")
        self._pings[name] = ping

    def on_drain(self, hook: Callable[[], None]) -> None:
        """Call ``hook`` in the event loop as soon as the process is told to leave, before it stops serving."""
        self._drain_hooks.append(hook)

    def begin_draining(self) -> None:
        """Be ready no more."""
        self.draining = True
        telemetry.metrics.ready.set(0)
        telemetry.event("process.draining")
        for hook in self._drain_hooks:
            hook()

    async def warm_up(self) -> None:
        """Ask every ping once before anybody else does, so that no caller waits for a first connection.

        Takes ``WARM_UP_TIMEOUT_S`` at most; what does not answer is told by ``observe_readiness``.
        """
        await asyncio.gather(*(_try_ping(ping, WARM_UP_TIMEOUT_S) for ping in self._pings.values()))

    async def observe_readiness(self) -> HealthReport:
        """Ask every ping, all at once; none may take longer than ``PING_TIMEOUT_S``."""
        if not self.started:
            return HealthReport(status="starting")
        if self.draining:
            return HealthReport(status="draining")
        reasons = await asyncio.gather(*(_try_ping(ping, PING_TIMEOUT_S) for ping in self._pings.values()))
        failing = {name: reason for name, reason in zip(self._pings, reasons, strict=True) if reason}
        if not self.draining:  # which may have begun meanwhile
            self._tell(failing)
        return HealthReport(status="failing" if failing else "ok", failing=failing)

    def _tell(self, failing: Mapping[str, str]) -> None:
        telemetry.metrics.ready.set(not failing)
        if list(failing) != self._failing:
            self._failing = list(failing)
            told = {"readiness.status": "failing" if failing else "ok", "readiness.failing": self._failing}
            telemetry.event("readiness.changed", told)


async def _try_ping(ping: Ping, timeout_s: float) -> str | None:
    try:
        async with asyncio.timeout(timeout_s):
            await ping()
    except TimeoutError:
        return f"no answer within {timeout_s:g} s"
    except Exception as error:  # whatever a ping raises means the same: not ready
        return type(error).__name__
    return None


def build_router(health: Health) -> APIRouter:
    """Routes of the three probes. They are for the platform: the gateway does not pass them on."""
    router = APIRouter(include_in_schema=False)

    @router.get("/livez")
    async def livez() -> HealthReport:
        """The process runs its event loop. Asks nothing else: a restart would not mend a dead database."""
        return HealthReport(status="ok")

    @router.get("/startupz")
    async def startupz() -> JSONResponse:
        """The process has finished starting."""
        return _answer(HealthReport(status="ok" if health.started else "starting"))

    @router.get("/readyz")
    async def readyz() -> JSONResponse:
        """The process should be given work."""
        return _answer(await health.observe_readiness())

    return router


def _answer(report: HealthReport) -> JSONResponse:
    status = HTTPStatus.OK if report.status == "ok" else HTTPStatus.SERVICE_UNAVAILABLE
    return JSONResponse(report.model_dump(), status, headers={"Cache-Control": "no-store"})
