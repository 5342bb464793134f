"""Faults in the running system, switched over HTTP.

Owns setting and clearing faults of a scenario, and the certainty that what was set is cleared again. Refuses to
know when, and why. Each kind of fault has one switch class.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import httpx

from incidents import drive
from incidents.endpoints import EndpointError, Endpoints
from incidents.load import Load
from incidents.scenario import Fault, LoadFault, ServiceFault

JOBS_WITH_FAULTS = ("api", "worker", "payments")
FROM_OUTSIDE = "faults"
"""The part that offers the faults which no process can do to itself; a system may lack it."""
TIMEOUT_S = 25.0
"""Undoing a fault may mean building an index again."""


class FaultError(Exception):
    """A fault could not be set or cleared; the text says which, where, why and what to do."""


class Switch(Protocol):
    """A fault of one kind. `check` before anything is broken, `clear` at any time and as often as one likes."""

    @property
    def fault(self) -> Fault: ...

    async def check(self) -> None:
        """Raise FaultError unless the fault can be set here and now."""

    async def set(self) -> None:
        """Switch the fault on."""

    async def clear(self) -> None:
        """Switch it off; nothing happens when it is off."""


class ServiceSwitch:
    """A fault that processes of the service offer at /internal/faults, on every replica of its target."""

    def __init__(self, fault: ServiceFault, endpoints: Endpoints, client: httpx.AsyncClient) -> None:
        self.fault = fault
        self._client = client
        try:
            self._targets = endpoints.replicas(fault.target)
        except EndpointError as unknown:
            raise FaultError(f"fault {fault.name}: {unknown}") from None

    async def check(self) -> None:
        for process, url in self._targets.items():
            document = await _ask(self._client, "GET", f"{url}/internal/faults", process)
            offered = [str(entry["name"]) for entry in document["faults"]]
            if self.fault.name not in offered:
                raise FaultError(f"{process} offers no fault {self.fault.name!r}. Known: {', '.join(sorted(offered))}")

    async def set(self) -> None:
        """With its end: should this run die, the fault does not outlive its duration."""
        body = {**self.fault.parameters, "for_s": self.fault.duration_s}
        for process, url in self._targets.items():
            await _ask(self._client, "PUT", f"{url}/internal/faults/{self.fault.name}", process, body)

    async def clear(self) -> None:
        refusals = []
        for process, url in self._targets.items():
            try:
                await _ask(self._client, "DELETE", f"{url}/internal/faults/{self.fault.name}", process)
            except FaultError as refused:
                refusals.append(str(refused))
        if refusals:
            raise FaultError("; ".join(refusals))


class LoadSwitch:
    """More requests through the gateway, from a process of its own."""

    def __init__(self, fault: LoadFault, endpoints: Endpoints, seed: int) -> None:
        self.fault = fault
        mix = {str(kind): weight for kind, weight in fault.mix.items()}
        steps = (drive.Step(fault.rate_per_s, fault.duration_s),)
        # another stream than the scenario's own of the same seed
        self._load = Load(drive.Job(endpoints.url("gateway"), mix, steps, seed + 1_000_003, fault.duration_s))

    async def check(self) -> None:
        return None

    async def set(self) -> None:
        await self._load.start()

    async def clear(self) -> None:
        await self._load.stop()


def build_switches(faults: Sequence[Fault], endpoints: Endpoints, client: httpx.AsyncClient, seed: int) -> list[Switch]:
    """A switch for every fault. Raises FaultError when a target is not known."""
    return [
        LoadSwitch(fault, endpoints, seed) if isinstance(fault, LoadFault) else ServiceSwitch(fault, endpoints, client)
        for fault in faults
    ]


async def observe_active_faults(endpoints: Endpoints, client: httpx.AsyncClient) -> list[str]:
    """Every fault that is switched on in any process of the service, as `name at process`. Raises FaultError."""
    active = []
    jobs = (*JOBS_WITH_FAULTS, FROM_OUTSIDE) if FROM_OUTSIDE in endpoints.urls else JOBS_WITH_FAULTS
    for job in jobs:
        for process, url in endpoints.replicas(job).items():
            document = await _ask(client, "GET", f"{url}/internal/faults", process)
            active += [f"{entry['name']} at {process}" for entry in document["faults"] if entry["active"]]
    return active


async def _ask(client: httpx.AsyncClient, method: str, url: str, process: str, body: Any = None) -> Any:
    try:
        answer = await client.request(method, url, json=body, timeout=TIMEOUT_S)
    except httpx.HTTPError as error:
        raise FaultError(f"{process} at {url} does not answer ({type(error).__name__}). Is it running?") from None
    if answer.status_code == httpx.codes.FORBIDDEN:
        raise FaultError(f"{process} refuses faults: they exist in development only. Use a development stack")
    if not answer.is_success:
        raise FaultError(f"{process} answered {answer.status_code} to {method} {url}: {answer.text[:200]}")
    return answer.json() if answer.content else None
