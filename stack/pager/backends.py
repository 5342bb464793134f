"""Reading from Prometheus, Alertmanager, Jaeger and Loki over HTTP.

Owns: time limits, size limits, and one error for everything that can go wrong on the way. Refuses to know: what
the answers mean.

The standard library's client in a few threads does for some requests a minute; httpx would add 9 MB to a process
that is to stay under 60.
"""

from __future__ import annotations

import asyncio
import http.client
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, ProxyHandler, build_opener

import orjson

TIMEOUT_S = 5.0
MAX_ANSWER_BYTES = 16 * 1024 * 1024

_THREADS = 8  # two probes, one exemplar search, and readers


class BackendError(Exception):
    """A backend gave no usable answer; the text is for the reader of a web page."""

    def __init__(self, reason: str, *, status: int | None = None) -> None:
        super().__init__(reason)
        self.status = status


class Backends:
    """A client without redirects and without a proxy from the environment."""

    def __init__(self, *, timeout_s: float = TIMEOUT_S) -> None:
        """`timeout_s` limits each wait for the backend, not their sum."""
        self._timeout_s = timeout_s
        self._threads = ThreadPoolExecutor(_THREADS, "backends")
        self._opener = build_opener(ProxyHandler({}), _NoRedirects)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def read_json(self, url: str, parameters: Mapping[str, str | float] | None = None) -> Any:
        """The JSON document at `url`. Raises BackendError."""
        body = await self._read(f"{url}?{urlencode(parameters)}" if parameters else url)
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError:
            raise BackendError(f"{urlsplit(url).netloc} sent something that is not JSON") from None

    async def observe_ready(self, base_url: str) -> str | None:
        """None when Prometheus or Alertmanager at `base_url` is ready, else the reason why not."""
        try:
            await self._read(f"{base_url}/-/ready")
        except BackendError as error:
            return str(error)
        return None

    async def observe_answer(self, url: str) -> bool:
        """Whether `url` answers at all without an error."""
        try:
            await self._read(url)
        except BackendError:
            return False
        return True

    async def _read(self, url: str) -> bytes:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._fetch, url)

    def _fetch(self, url: str) -> bytes:
        host = urlsplit(url).netloc
        try:
            with self._opener.open(url, timeout=self._timeout_s) as response:
                body: bytes = response.read(MAX_ANSWER_BYTES + 1)
        except HTTPError as error:
            error.close()
            raise BackendError(f"{host} answered {error.code}", status=error.code) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = error.reason if isinstance(error, URLError) else error
            if isinstance(reason, TimeoutError):
                raise BackendError(f"{host} gave no answer within {self._timeout_s:g} s") from None
            raise BackendError(f"{host} does not answer ({reason or type(reason).__name__})") from None
        if len(body) > MAX_ANSWER_BYTES:
            raise BackendError(f"{host} sent more than {MAX_ANSWER_BYTES >> 20} MiB")
        return body


class _NoRedirects(HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None
