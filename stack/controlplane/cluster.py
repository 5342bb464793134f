"""The Kubernetes API as its clients here see it: documents applied, read, changed.

Owns the paths of resources and what refusals mean. Knows none of the documents.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import httpx
import yaml

from stack.errors import StackError

Document = dict[str, Any]

OWNER = "signalbox"  # the field manager of server-side apply
TIMEOUT_S = 10.0
POLL_S = 0.2


class Cluster:
    """A client of one API server. An async context manager."""

    def __init__(self, url: str, *, authority: Path, certificate: Path, key: Path) -> None:
        context = ssl.create_default_context(cafile=authority)
        context.load_cert_chain(certificate, key)
        self._client = httpx.AsyncClient(base_url=url, verify=context, timeout=TIMEOUT_S, trust_env=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def answers(self, path: str) -> bool:
        """Whether a GET of the path is answered 2xx."""
        try:
            return (await self._client.get(path)).is_success
        except httpx.HTTPError:
            return False

    async def apply(self, document: Document) -> Document:
        """Server-side apply; what the server made of it. Raises StackError with the server's reason."""
        content = yaml.safe_dump(document).encode()
        return await self._send(
            "PATCH",
            path_of(document),
            content=content,
            headers={"Content-Type": "application/apply-patch+yaml"},
            params={"fieldManager": OWNER, "force": "true"},
        )

    async def get(self, path: str, **parameters: str) -> Document:
        """A resource or a list. Raises StackError."""
        return await self._send("GET", path, params=parameters)

    async def merge(self, path: str, change: Mapping[str, Any]) -> Document:
        """Change some fields (JSON merge patch). Raises StackError."""
        return await self._send("PATCH", path, json=change, headers={"Content-Type": "application/merge-patch+json"})

    async def delete(self, document: Document) -> None:
        """Delete what was applied. Raises StackError."""
        await self._send("DELETE", path_of(document))

    async def await_condition(self, document: Document, condition: str, within_s: float) -> None:
        """Return when the resource is there and says that the condition is true. Raises StackError with what was said
        last."""
        said = "nothing"
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            try:
                status = (await self.get(path_of(document))).get("status", {})
            except StackError as error:  # it may not be there yet
                said = str(error)
            else:
                found = [each for each in status.get("conditions", ()) if each["type"] == condition]
                if found and found[0]["status"] == "True":
                    return
                said = found[0].get("message", "nothing") if found else "no such condition"
            await asyncio.sleep(POLL_S)
        name = f"{document['kind']} {document['metadata']['name']}"
        raise StackError(f"{name} is not {condition} after {within_s:.0f} s: {said}")

    async def _send(self, method: str, path: str, **request: Any) -> Document:
        try:
            answer = await self._client.request(method, path, **request)
            found = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise StackError(f"the API server does not answer ({error or type(error).__name__})") from error
        if not answer.is_success:
            raise StackError(f"the API server refuses {method} {path}: {found.get('message', answer.status_code)}")
        return dict(found)


def path_of(document: Document) -> str:
    """Where the API server keeps this document."""
    version, metadata = document["apiVersion"], document["metadata"]
    group = f"/apis/{version}" if "/" in version else f"/api/{version}"
    namespace = f"/namespaces/{metadata['namespace']}" if "namespace" in metadata else ""
    return f"{group}{namespace}/{document['kind'].lower()}s/{metadata['name']}"


async def await_true(look: Callable[[], Any], what: str, within_s: float) -> None:
    """Return when the awaitable that `look` makes is true. Raises StackError naming `what`."""
    deadline = time.monotonic() + within_s
    while not await look():
        if time.monotonic() > deadline:
            raise StackError(f"{what} is not ready after {within_s:.0f} s")
        await asyncio.sleep(POLL_S)
