"""Faults in the running system, switched over HTTP.

Owns setting and clearing faults of a scenario, and the certainty that what was set is cleared again. Refuses to
know when, and why. Each kind of fault has one switch class; a new kind is a new class in `SWITCHES`.
"""

from __future__ import annotations

from typing import Any, Protocol

import httpx

from incidents.endpoints import EndpointError, Endpoints
from incidents.scenario import ServiceFault

_JOBS_WITH_FAULTS = ("api", "worker", "payments")


class FaultError(Exception):
    """A fault could not be set or cleared; the text says which, where, why and what to do."""


class Switch(Protocol):
    """A fault of one kind. `check` before anything is broken, `clear` at any time and as often as one likes."""

    fault: ServiceFault

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
        for process, url in self._targets.items():
            await _ask(self._client, "PUT", f"{url}/internal/faults/{self.fault.name}", process, self.fault.parameters)

    async def clear(self) -> None:
        refusals = []
        for process, url in self._targets.items():
            try:
                await _ask(self._client, "DELETE", f"{url}/internal/faults/{self.fault.name}", process)
            except FaultError as refused:
                refusals.append(str(refused))
        if refusals:
            raise FaultError("; ".join(refusals))


SWITCHES: dict[str, type[ServiceSwitch]] = {"service": ServiceSwitch}


def build_switches(faults: list[ServiceFault], endpoints: Endpoints, client: httpx.AsyncClient) -> list[Switch]:
    """A switch for every fault. Raises FaultError when a target is not known."""
    return [SWITCHES[fault.kind](fault, endpoints, client) for fault in faults]


async def observe_active_faults(endpoints: Endpoints, client: httpx.AsyncClient) -> list[str]:
    """Every fault that is switched on in any process of the service, as `name at process`. Raises FaultError."""
    active = []
    for job in _JOBS_WITH_FAULTS:
        for process, url in endpoints.replicas(job).items():
            document = await _ask(client, "GET", f"{url}/internal/faults", process)
            active += [f"{entry['name']} at {process}" for entry in document["faults"] if entry["active"]]
    return active


async def _ask(client: httpx.AsyncClient, method: str, url: str, process: str, body: Any = None) -> Any:
    try:
        answer = await client.request(method, url, json=body)
    except httpx.HTTPError as error:
        raise FaultError(f"{process} at {url} does not answer ({type(error).__name__}). Is it running?") from None
    if answer.status_code == httpx.codes.FORBIDDEN:
        raise FaultError(f"{process} refuses faults: they exist in development only. Use a development stack")
    if not answer.is_success:
        raise FaultError(f"{process} answered {answer.status_code} to {method} {url}: {answer.text[:200]}")
    return answer.json() if answer.content else None
