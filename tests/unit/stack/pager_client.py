"""A pager to talk to over HTTP, and a small HTTP server in the place of its backends."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from stack.pager.app import build_app
from stack.pager.settings import Settings


class Backend:
    """A small HTTP server: answers by path, everything asked of it written down."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, bytes]] = {"/-/ready": (200, b"ready")}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.is_slow = threading.Event()
        backend = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                url = urlsplit(self.path)
                backend.asked.append((url.path, {name: value[0] for name, value in parse_qs(url.query).items()}))
                while backend.is_slow.is_set():
                    time.sleep(0.01)
                status, body = backend.answers.get(url.path, (404, b"{}"))
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, path: str, document: Any, status: int = 200) -> None:
        self.answers[path] = (status, json.dumps(document).encode())

    def stop(self) -> None:
        self.is_slow.clear()
        self._server.shutdown()
        self._server.server_close()


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    app = build_app(settings)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://pager") as client,
    ):
        yield client


async def until(observe: Callable[[], Awaitable[Any]], wanted: Callable[[Any], bool], timeout_s: float = 10.0) -> Any:
    """Polls until what is observed is wanted; says what was observed when it never is."""
    deadline = time.monotonic() + timeout_s
    while True:
        observed = await observe()
        if wanted(observed):
            return observed
        assert time.monotonic() < deadline, f"last observed: {observed!r:.2000}"
        await asyncio.sleep(0.02)


def rfc3339(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat()


def webhook(status: str = "firing", *, start: float | None = None, **changes: Any) -> dict[str, Any]:
    start = time.time() - 60 if start is None else start
    alert = {
        "status": status,
        "labels": {
            "alertname": "CheckoutAvailabilityBurnPage",
            "service": "checkout",
            "slo": "availability",
            "tier": "page",
        },
        "annotations": {"summary": "Checkout is failing", "exemplar_query": 'http_bucket{outcome="bad"}'},
        "startsAt": rfc3339(start),
        "endsAt": rfc3339(start + 30) if status == "resolved" else "0001-01-01T00:00:00Z",
        "fingerprint": "6d1a3c1f0b8e9a77",
    }
    return {"version": "4", "status": status, "alerts": [alert | changes]}


async def pages(client: httpx.AsyncClient, **query: str) -> list[dict[str, Any]]:
    answer = await client.get("/api/v1/pages", params=query)
    assert answer.status_code == 200, answer.text
    listed: list[dict[str, Any]] = answer.json()["pages"]
    return listed
