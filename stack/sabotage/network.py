"""A fault of the wire between the api and payments, made by toxiproxy.

Owns the proxy and its toxics, and that the api's calls take the way through it while the fault is on: without one
nothing stands in the way of a request. Knows nothing of payments but its address.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from stack.sabotage.fault import Parameters, Record, Refused

if TYPE_CHECKING:
    import httpx

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

    def __init__(self, toxiproxy: str, detour: str, payments: str, apis: Sequence[str]) -> None:
        """Addresses, each host:port: of toxiproxy, of the detour through it, of payments and of every api replica."""
        self._toxiproxy, self._detour, self._payments, self._apis = f"http://{toxiproxy}", detour, payments, apis

    async def plan(self, parameters: WireParameters) -> Record:
        await _ask("toxiproxy", "GET", f"{self._toxiproxy}/version")
        return {}

    async def apply(self, parameters: WireParameters, record: Record) -> None:
        with suppress(NoAnswer):
            await _call("DELETE", f"{self._toxiproxy}/proxies/{PROXY}")
        wire = {"listen": self._detour, "upstream": self._payments, "enabled": not parameters.refuse}
        await _ask("toxiproxy", "POST", f"{self._toxiproxy}/proxies", {"name": PROXY, **wire})
        if parameters.latency_ms:
            attributes = {"latency": parameters.latency_ms, "jitter": parameters.jitter_ms}
            toxic = {"type": "latency", "stream": "downstream", "toxicity": 1.0, "attributes": attributes}
            await _ask("toxiproxy", "POST", f"{self._toxiproxy}/proxies/{PROXY}/toxics", toxic)
        for api in self._apis:
            await _ask(
                f"the api at {api}", "PUT", f"http://{api}/internal/faults/{DETOUR}", {"url": f"http://{self._detour}"}
            )

    async def undo(self, parameters: WireParameters, record: Record) -> None:
        """The detour goes before the proxy. A replica that is gone has forgotten it."""
        ways = [f"http://{api}/internal/faults/{DETOUR}" for api in self._apis]
        for way in (*ways, f"{self._toxiproxy}/proxies/{PROXY}"):
            with suppress(NoAnswer):
                await _call("DELETE", way)


class NoAnswer(Exception):
    """Nothing came back; the text says why."""


async def _ask(who: str, method: str, url: str, body: Any = None) -> None:
    """Have something done. Raises Refused with the reason."""
    try:
        answer = await _call(method, url, body)
    except NoAnswer as error:
        raise Refused(f"{who} does not answer ({error}). See `signalbox status`") from None
    if answer.is_error:
        raise Refused(f"{url} answers {answer.status_code}: {answer.text[:200]}")


async def _call(method: str, url: str, body: Any = None) -> httpx.Response:
    import httpx  # when the fault is used first: in most stacks it would be memory for nothing

    try:
        async with httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False) as client:
            return await client.request(method, url, json=body)
    except httpx.HTTPError as error:
        raise NoAnswer(type(error).__name__) from None
