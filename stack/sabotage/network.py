"""A fault of the wire between the api and payments, made by toxiproxy.

Owns the proxy and its toxics, and that the api's calls take the way through it while the fault is on: without one
nothing stands in the way of a request. Knows nothing of payments but its address.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import httpx
from pydantic import Field

from stack.sabotage.fault import Parameters, Record, Refused

TIMEOUT_S = 5.0
PROXY = "payments"
DETOUR = "payments-detour"  # the fault by which a replica of the api sends its calls another way


class WireParameters(Parameters):
    """`latency_ms` (and `jitter_ms`) on the way back, or `refuse` to have every connection refused."""

    latency_ms: int = Field(default=0, ge=0, le=60_000)
    jitter_ms: int = Field(default=0, ge=0, le=60_000)
    refuse: bool = False


class PaymentsNetwork:
    """The api's calls go through toxiproxy, which delays or refuses them."""

    name: ClassVar[str] = "payments-network"
    description: ClassVar[str] = "the wire to payments is slow (`latency_ms`, `jitter_ms`) or refuses (`refuse`)"
    parameters: ClassVar[type[Parameters]] = WireParameters

    def __init__(self, toxiproxy: str, detour: str, payments: str, apis: Mapping[str, str]) -> None:
        """Addresses of toxiproxy, of the detour (host:port), of payments (host:port) and of every api replica."""
        self._toxiproxy, self._detour, self._payments, self._apis = toxiproxy, detour, payments, apis

    async def plan(self, parameters: WireParameters) -> Record:
        try:
            async with self._client() as client:
                (await client.get(f"{self._toxiproxy}/version")).raise_for_status()
        except httpx.HTTPError as error:
            raise Refused(f"toxiproxy does not answer ({type(error).__name__}). See `signalbox status`") from None
        return {}

    async def apply(self, parameters: WireParameters, record: Record) -> None:
        async with self._client() as client:
            await client.delete(f"{self._toxiproxy}/proxies/{PROXY}")
            wire = {"listen": self._detour, "upstream": self._payments, "enabled": not parameters.refuse}
            proxy = {"name": PROXY, **wire}
            await self._ask(client, "POST", f"{self._toxiproxy}/proxies", proxy)
            if parameters.latency_ms:
                attributes = {"latency": parameters.latency_ms, "jitter": parameters.jitter_ms}
                toxic = {"type": "latency", "stream": "downstream", "toxicity": 1.0, "attributes": attributes}
                await self._ask(client, "POST", f"{self._toxiproxy}/proxies/{PROXY}/toxics", toxic)
            for url in self._apis.values():
                body = {"url": f"http://{self._detour}"}
                await self._ask(client, "PUT", f"{url}/internal/faults/{DETOUR}", body)

    async def undo(self, parameters: WireParameters, record: Record) -> None:
        """The detour goes before the proxy. A replica that is gone has forgotten it."""
        async with self._client() as client:
            for url in self._apis.values():
                try:
                    await client.delete(f"{url}/internal/faults/{DETOUR}")
                except httpx.TransportError:
                    continue
            try:
                await client.delete(f"{self._toxiproxy}/proxies/{PROXY}")
            except httpx.TransportError:
                return

    def _client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False)

    async def _ask(self, client: httpx.AsyncClient, method: str, url: str, body: Any) -> None:
        try:
            answer = await client.request(method, url, json=body)
        except httpx.HTTPError as error:
            raise Refused(f"{url} does not answer ({type(error).__name__}). See `signalbox status`") from None
        if answer.is_error:
            raise Refused(f"{url} answers {answer.status_code}: {answer.text[:200]}")
