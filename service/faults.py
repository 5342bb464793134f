"""Faults that a developer or an incident switches on to see the service fail, and be seen failing.

Owns the known faults, which of them are on, the draw whether one strikes, and the routes to change them. Refuses
everything outside development. Knows nothing of what it disturbs: the places where a fault strikes ask here.

A fault strikes ``percent`` of its occasions, drawn from a seeded generator, so that a run can be repeated. With a
``scope`` it strikes only requests whose header ``x-signalbox-fault-scope`` has that value; the scope travels on to
payments and with the job, so one caller can be disturbed from end to end while others are not. With ``for_s`` it ends
by itself after so many seconds, whoever forgot it.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
import zlib
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from random import Random
from typing import Any, Generic, TypeVar

from fastapi import APIRouter, Body
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request

from service import telemetry
from service.errors import Forbidden, NotFound

SCOPE_HEADER = "x-signalbox-fault-scope"

# What may travel on in a header and in a job: nothing that a header could not carry.
_SCOPE_PATTERN = r"^[A-Za-z0-9._-]{1,100}$"

_scope: ContextVar[str | None] = ContextVar("fault_scope", default=None)
_present: ContextVar[Faults | None] = ContextVar("faults", default=None)


class Parameters(BaseModel):
    """What every fault can be told."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    percent: float = Field(default=100, ge=0, le=100)
    for_s: float | None = Field(default=None, gt=0, le=86_400)
    scope: str | None = Field(default=None, pattern=_SCOPE_PATTERN)


class Errors(Parameters):
    """Answer with ``status``."""

    status: int = Field(default=500, ge=400, le=599)


class Latency(Parameters):
    """Wait ``ms`` milliseconds first."""

    ms: int = Field(default=1000, ge=0, le=60_000)


class RouteErrors(Errors):
    """Answer with ``status``, on one route or all."""

    route: str | None = None


class RouteLatency(Latency):
    """Wait ``ms`` milliseconds first, on one route or all."""

    route: str | None = None


class RouteDefect(Parameters):
    """Raise what no handler expects, on one route or all."""

    route: str | None = None


class LoopBlock(RouteLatency):
    """Keep the event loop from doing anything else for ``ms`` milliseconds."""

    ms: int = Field(default=200, ge=0, le=5_000)


class MemoryLeak(Parameters):
    """Keep ``kib`` KiB for ever, up to ``limit_mib`` in all."""

    kib: int = Field(default=256, ge=1, le=16_384)
    limit_mib: int = Field(default=384, ge=1, le=2_048)


class ConnectionLeak(Parameters):
    """Never give a connection back, up to ``count`` of them."""

    count: int = Field(default=9, ge=1, le=200)


class Detour(Parameters):
    """Call payments at ``url``, which is on this machine or, by a name without a dot, in this network of containers."""

    url: str = Field(pattern=r"^http://(127\.0\.0\.1|[a-z][a-z0-9-]{0,62}):\d{1,5}$")


class Quota(Parameters):
    """Allow a client ``quota`` requests of a route in ``window_s`` seconds."""

    quota: int = Field(default=120, ge=1, le=1_000_000)
    window_s: int = Field(default=60, ge=1, le=3_600)


class BlindRetries(Parameters):
    """Send a failed call again at once, ``attempts`` times in all."""

    attempts: int = Field(default=3, ge=2, le=10)


class Capacity(Latency):
    """Do no more than ``slots`` at a time, each taking ``ms`` milliseconds; who comes later waits in line."""

    ms: int = Field(default=50, ge=1, le=60_000)
    slots: int = Field(default=1, ge=1, le=100)


P = TypeVar("P", bound=Parameters)


@dataclass(frozen=True)
class Fault(Generic[P]):
    """A fault that a process knows: its name, its parameters, and what it does."""

    name: str
    parameters: type[P]
    description: str


RESPONSE_ERRORS = Fault(
    "response-errors", RouteErrors, "answer with an error; `route` is a template such as /v1/orders"
)
RESPONSE_LATENCY = Fault("response-latency", RouteLatency, "answer late; `route` is a template such as /v1/orders")
RESPONSE_DEFECT = Fault("response-defect", RouteDefect, "raise an unexpected exception, as a bad version would")
LOOP_BLOCK = Fault("loop-block", LoopBlock, "a handler blocks the event loop")
MEMORY_LEAK = Fault("memory-leak", MemoryLeak, "a handler keeps memory and never lets go")
CONNECTION_LEAK = Fault("connection-leak", ConnectionLeak, "a handler never gives its database connection back")
N_PLUS_ONE = Fault("n-plus-one", Parameters, "a list asks the database once more for each of its rows")
PAYMENTS_DETOUR = Fault("payments-detour", Detour, "calls to payments take another way")
TIGHT_LIMIT = Fault("tight-limit", Quota, "a client may ask a route only so often, whatever is configured")
BLIND_RETRIES = Fault("blind-retries", BlindRetries, "failed calls to payments are sent again at once")
CHARGE_ERRORS = Fault("charge-errors", Errors, "charges fail before anything is written")
CHARGE_LATENCY = Fault("charge-latency", Latency, "charges take longer")
CHARGE_CAPACITY = Fault("charge-capacity", Capacity, "charges wait in line for one of a few slots")
JOB_ERRORS = Fault("job-errors", Parameters, "jobs fail before they have an effect; they are tried again")
JOB_LATENCY = Fault("job-latency", Latency, "jobs take longer")
POISON_JOBS = Fault("poison-jobs", Parameters, "some jobs, always the same, fail every time they are tried")

UNREADABLE_JOBS = Fault("unreadable-jobs", Parameters, "some jobs, always the same, cannot be read and are parked")

API_FAULTS: tuple[Fault[Any], ...] = (
    *(RESPONSE_ERRORS, RESPONSE_LATENCY, RESPONSE_DEFECT, LOOP_BLOCK, MEMORY_LEAK, CONNECTION_LEAK),
    *(N_PLUS_ONE, PAYMENTS_DETOUR, BLIND_RETRIES, TIGHT_LIMIT),
)
PAYMENTS_FAULTS: tuple[Fault[Any], ...] = (CHARGE_ERRORS, CHARGE_LATENCY, CHARGE_CAPACITY)
WORKER_FAULTS: tuple[Fault[Any], ...] = (JOB_ERRORS, JOB_LATENCY, POISON_JOBS, UNREADABLE_JOBS)


class InjectedError(Exception):
    """What a job raises when ``job-errors`` or ``poison-jobs`` strikes."""


class DefectiveReleaseError(Exception):
    """What a request raises when ``response-defect`` strikes."""


class FaultView(BaseModel):
    """One fault as a caller sees it."""

    name: str
    active: bool
    parameters: dict[str, Any]
    description: str


class FaultList(BaseModel):
    """All faults of a process."""

    faults: list[FaultView]


class Faults:
    """The faults of one process. ``allowed`` is False outside development: then none can be switched on."""

    def __init__(self, known: Iterable[Fault[Any]], *, allowed: bool, seed: int = 0) -> None:
        self.allowed = allowed
        self._known = {fault.name: fault for fault in known}
        self._active: dict[str, Parameters] = {}
        self._random = Random(seed)
        self._expiries: dict[str, asyncio.TimerHandle] = {}
        self._ended: dict[str, Callable[[], None]] = {}
        self._leaked: list[bytes] = []
        self._slots: asyncio.Semaphore | None = None
        self.on_end(MEMORY_LEAK, self._leaked.clear)
        self.on_end(CHARGE_CAPACITY, self._forget_slots)
        for name in self._known:
            telemetry.metrics.fault_active.labels(name).set(0)

    def views(self) -> list[FaultView]:
        """Every known fault, on or off."""
        return [
            FaultView(
                name=name,
                active=name in self._active,
                parameters=self._active[name].model_dump(exclude_none=True) if name in self._active else {},
                description=fault.description,
            )
            for name, fault in self._known.items()
        ]

    def switch_on(self, name: str, parameters: dict[str, Any]) -> None:
        """Switch ``name`` on, or change its parameters. Raises NotFound or ``pydantic.ValidationError``."""
        fault = self._known.get(name)
        if fault is None:
            raise NotFound(f"no fault named {name!r} here; known: {', '.join(self._known)}")
        given = fault.parameters.model_validate(parameters)
        if name in self._active:
            self._end(name)
        self._active[name] = given
        if given.for_s is not None:
            self._expiries[name] = asyncio.get_running_loop().call_later(given.for_s, self.switch_off, name)
        self._announce(name)

    def switch_off(self, name: str) -> None:
        """Switch ``name`` off; nothing happens when it is off already. Raises NotFound."""
        if name not in self._known:
            raise NotFound(f"no fault named {name!r} here; known: {', '.join(self._known)}")
        if self._active.pop(name, None) is not None:
            self._end(name)
            self._announce(name)

    def switch_all_off(self) -> None:
        """Switch every fault off."""
        for name in list(self._active):
            self.switch_off(name)

    def strike(self, fault: Fault[P], *, route: str | None = None) -> P | None:
        """Parameters of ``fault`` when it strikes this occasion, else None."""
        parameters = self._active.get(fault.name)
        if parameters is None:
            return None
        assert isinstance(parameters, fault.parameters)
        if parameters.scope is not None and parameters.scope != _scope.get():
            return None
        wanted = getattr(parameters, "route", None)
        if wanted is not None and wanted != route:
            return None
        return parameters if self._random.random() * 100 < parameters.percent else None

    def on_end(self, fault: Fault[Any], undo: Callable[[], None]) -> None:
        """Have ``undo`` called whenever ``fault`` ends: what it took is given back."""
        self._ended[fault.name] = undo

    def _end(self, name: str) -> None:
        if expiry := self._expiries.pop(name, None):
            expiry.cancel()
        if undo := self._ended.get(name):
            undo()

    def _announce(self, name: str) -> None:
        parameters = self._active.get(name)
        telemetry.metrics.fault_active.labels(name).set(0 if parameters is None else 1)
        attributes: dict[str, Any] = {"fault.name": name, "fault.active": parameters is not None}
        if parameters is not None:
            given = parameters.model_dump(exclude_none=True)
            attributes.update({f"fault.parameters.{key}": value for key, value in given.items()})
        telemetry.event("fault.changed", attributes)

    # the places where faults strike

    async def disturb_response(self, request: Request) -> None:
        """Dependency of the api's public routes: remembers the request's fault scope, then delays or fails it."""
        _scope.set(_read_scope(request))
        if self._active:
            _present.set(self)
            route = request.scope["route"].path
            if block := self.strike(LOOP_BLOCK, route=route):
                time.sleep(block.ms / 1000)  # noqa: ASYNC251  # that is the fault
            if leak := self.strike(MEMORY_LEAK):
                self._leak(leak)
            await self._disturb(RESPONSE_LATENCY, RESPONSE_ERRORS, route=route)
            if self.strike(RESPONSE_DEFECT, route=route):
                raise DefectiveReleaseError("this version cannot handle this request")

    async def disturb_charge(self, request: Request) -> None:
        """Dependency of the charge route: delays or fails it before anything is written."""
        _scope.set(_read_scope(request))
        if capacity := self.strike(CHARGE_CAPACITY):
            if self._slots is None:
                self._slots = asyncio.Semaphore(capacity.slots)
            async with self._slots:
                await asyncio.sleep(capacity.ms / 1000)
        await self._disturb(CHARGE_LATENCY, CHARGE_ERRORS)

    async def disturb_job(self, scope: str | None, payload: str = "") -> None:
        """Called before a job's effect: delays it, or raises ``InjectedError``."""
        _scope.set(scope)
        if latency := self.strike(JOB_LATENCY):
            await asyncio.sleep(latency.ms / 1000)
        if self.strike(JOB_ERRORS):
            raise InjectedError("a fault made this job fail")
        if self._marks(POISON_JOBS, payload):
            raise InjectedError("this job cannot be done")

    def read_job(self, payload: str) -> str:
        """What a version with the defect makes of a job's payload: sometimes nothing that anybody would understand."""
        return payload[:-1] if self._marks(UNREADABLE_JOBS, payload) else payload

    def _marks(self, fault: Fault[Any], payload: str) -> bool:
        """Whether this very job is struck: decided by its payload, so that trying it again changes nothing."""
        parameters = self._active.get(fault.name)
        return parameters is not None and zlib.crc32(payload.encode()) % 10_000 < parameters.percent * 100

    def _leak(self, leak: MemoryLeak) -> None:
        size = leak.kib * 1024
        if (len(self._leaked) + 1) * size <= leak.limit_mib * 1024 * 1024:
            self._leaked.append(os.urandom(1) * size)

    def _forget_slots(self) -> None:
        self._slots = None

    async def _disturb(self, latency: Fault[Any], errors: Fault[Any], route: str | None = None) -> None:
        if struck := self.strike(latency, route=route):
            await asyncio.sleep(struck.ms / 1000)
        if struck := self.strike(errors, route=route):
            raise HTTPException(struck.status, f"the fault {errors.name} made this request fail")


def _read_scope(request: Request) -> str | None:
    scope = request.headers.get(SCOPE_HEADER)
    return scope if scope and re.fullmatch(_SCOPE_PATTERN, scope) else None


def struck(fault: Fault[P]) -> P | None:
    """Parameters of ``fault`` when it strikes the present request, else None. For places deeper than its beginning."""
    faults = _present.get()
    return None if faults is None else faults.strike(fault)


def on_end(fault: Fault[Any], undo: Callable[[], None]) -> None:
    """Have ``undo`` called when ``fault``, which has struck the present request, ends."""
    faults = _present.get()
    if faults is not None:
        faults.on_end(fault, undo)


def scope_headers() -> dict[str, str]:
    """The header that carries the current request's fault scope onwards; empty when it has none."""
    scope = _scope.get()
    return {SCOPE_HEADER: scope} if scope else {}


def build_router(faults: Faults) -> APIRouter:
    """Routes under ``/internal/faults``. The gateway does not pass them on."""
    router = APIRouter(prefix="/internal/faults", include_in_schema=False)

    def require_allowed() -> None:
        if not faults.allowed:
            raise Forbidden("faults can be changed in development only")

    @router.get("")
    async def list_faults() -> FaultList:
        require_allowed()
        return FaultList(faults=faults.views())

    @router.put("/{name}")
    async def switch_on(name: str, parameters: dict[str, Any] = Body(default={})) -> FaultList:
        require_allowed()
        try:
            faults.switch_on(name, parameters)
        except ValidationError as error:
            raise RequestValidationError(
                [{**entry, "loc": ("body", *entry["loc"])} for entry in error.errors(include_url=False)]
            ) from error
        return FaultList(faults=faults.views())

    @router.delete("/{name}")
    async def switch_off(name: str) -> FaultList:
        require_allowed()
        faults.switch_off(name)
        return FaultList(faults=faults.views())

    @router.delete("")
    async def switch_all_off() -> FaultList:
        require_allowed()
        faults.switch_all_off()
        return FaultList(faults=faults.views())

    return router
