"""One backend that is read: GET requests only, bounded answers, credentials that nobody prints.

Owns HTTP with a backend that may be production: what counts as too much to ask for at once, when to try again, what is
an error. Refuses to know what is asked.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson
import yaml

TIMEOUT_S = 180.0
TRIES = 4
PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
MAX_ANSWER_BYTES = 32 * 1024**2
BACKENDS = ("prometheus", "loki", "jaeger")
_TOO_MUCH = (413, 414, 422, 504)  # too large, address too long, Prometheus' sample limit, a proxy's patience
_AGAIN = (429, 502, 503)


class SourceError(Exception):
    """A backend that cannot be read; the text says which one, why, and what may help."""


class TooMuch(Exception):
    """The answer would be larger than is sensible: ask for less at once."""


class Source:
    """The query side of one backend."""

    def __init__(self, name: str, url: str, headers: Mapping[str, str], client: httpx.AsyncClient) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SourceError(f"the address of {name} is not an http:// or https:// address")
        if parts.username or parts.password:
            raise SourceError(f"the address of {name} holds a password. Put it into {_variable(name)}_USER, _PASSWORD")
        self.name = name
        self.url = url.rstrip("/")
        self._headers = dict(headers)
        self._client = client

    async def get(self, path: str, parameters: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Any:
        """The JSON document at a path. Raises TooMuch and SourceError; tries again when the backend is only busy."""
        why = ""
        for attempt in range(TRIES):
            if attempt:
                await asyncio.sleep(min(PAUSE_S * 2 ** (attempt - 1), LONGEST_PAUSE_S))
            try:
                status, body = await self._fetch(path, parameters, headers or {})
            except httpx.ReadTimeout:
                raise TooMuch from None
            except httpx.HTTPError as error:
                why = f"no answer ({type(error).__name__})"
                continue
            if status in _AGAIN:
                why = f"it answered {status}"
                continue
            return self._parse(status, body)
        raise SourceError(f"{self.name} at {self.url} cannot be read: {why}")

    async def _fetch(self, path: str, parameters: Mapping[str, Any], headers: Mapping[str, str]) -> tuple[int, bytes]:
        request = self._client.build_request(
            "GET", self.url + path, params=dict(parameters), headers={**self._headers, **headers}
        )
        answer = await self._client.send(request, stream=True, follow_redirects=False)
        try:
            body = bytearray()
            async for chunk in answer.aiter_bytes():
                body += chunk
                if len(body) > MAX_ANSWER_BYTES:
                    raise TooMuch
            return answer.status_code, bytes(body)
        finally:
            await answer.aclose()

    def _parse(self, status: int, body: bytes) -> Any:
        said = " ".join(body[:200].decode(errors="replace").split())
        if status in _TOO_MUCH:
            raise TooMuch
        if status in (401, 403):
            raise SourceError(
                f"{self.name} at {self.url} refuses us ({status}). "
                f"Set {_variable(self.name)}_TOKEN, or _USER and _PASSWORD, or give --headers FILE"
            )
        if status != httpx.codes.OK:
            raise SourceError(f"{self.name} at {self.url} answered {status}: {said}")
        try:
            return orjson.loads(body)
        except ValueError:
            raise SourceError(f"{self.name} at {self.url} answered something that is not JSON: {said[:60]}") from None


def parse_headers(environ: Mapping[str, str], file: Path | None) -> dict[str, dict[str, str]]:
    """Headers by backend, from `SIGNALBOX_CAPTURE_<BACKEND>_TOKEN`, or `_USER` and `_PASSWORD`, and from a file.

    The file is YAML or JSON: backend → header → value. Raises SourceError.
    """
    headers: dict[str, dict[str, str]] = {name: {} for name in BACKENDS}
    for name in BACKENDS:
        if token := environ.get(f"{_variable(name)}_TOKEN"):
            headers[name]["Authorization"] = f"Bearer {token}"
        elif user := environ.get(f"{_variable(name)}_USER"):
            pair = f"{user}:{environ.get(f'{_variable(name)}_PASSWORD', '')}"
            headers[name]["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    if file is None:
        return headers
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
        for name, given in document.items():
            headers[name].update({str(key): str(value) for key, value in given.items()})
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{file} cannot be read: {error}") from None
    except (yaml.YAMLError, AttributeError, KeyError):  # what the file holds is secret: it is not repeated
        raise SourceError(f"{file} is no file of headers. It maps {', '.join(BACKENDS)} to headers") from None
    return headers


def parse_urls(file: Path) -> dict[str, str]:
    """Addresses of the backends from a state document (`{"urls": {…}}`). Raises SourceError."""
    try:
        urls = json.loads(file.read_text(encoding="utf-8"))["urls"]
        return {name: str(urls[name]) for name in BACKENDS if urls.get(name)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise SourceError(f'{file} is not a state document. It holds {{"urls": {{"prometheus": …}}}}') from None


def _variable(name: str) -> str:
    return f"SIGNALBOX_CAPTURE_{name.upper()}"
