"""`python -m incidents.prober`: steady synthetic traffic through the gateway, so that a quiet system shows itself.

Owns its few requests a second, a look at a certificate now and then, and its own health and metrics. Refuses to fail
when the gateway is down: it keeps trying, and counts. Its users are the last hundred of the seeded ones, its agent is
`signalbox-prober`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count

from incidents.certificate import observe_expiry
from incidents.identity import REFRESH_S, fetch_token
from incidents.wire import NoAnswer, TrafficClient

USER_AGENT = "signalbox-prober"
GATEWAY_VARIABLE = "SIGNALBOX_GATEWAY_URL"
ISSUER_VARIABLE = "SIGNALBOX_ISSUER_URL"
TLS_VARIABLE = "SIGNALBOX_TLS_ENDPOINT"
CERTIFICATE_INTERVAL_S = 5.0
EXPIRES_SOON_S = 14 * 86_400.0
TIMEOUT_S = 5.0
OUTCOMES = ("good", "refused", "bad")
FIRST_USER, LAST_USER = 49_901, 50_000
FIRST_PLENTIFUL_PRODUCT, LAST_PRODUCT = 11, 100_000

Request = tuple[str, str, bytes | None]


def browse(draw: random.Random) -> Request:
    """A page of the catalogue."""
    return "GET", f"/v1/products?limit={draw.choice((10, 20))}", None


def read(draw: random.Random) -> Request:
    """One product."""
    return "GET", f"/v1/products/{draw.randint(FIRST_PLENTIFUL_PRODUCT, LAST_PRODUCT)}", None


def order(draw: random.Random) -> Request:
    """An order of one plentiful product."""
    product = draw.randint(FIRST_PLENTIFUL_PRODUCT, LAST_PRODUCT)
    body = {"user_id": draw.randint(FIRST_USER, LAST_USER), "items": [{"product_id": product, "quantity": 1}]}
    return "POST", "/v1/orders", json.dumps(body).encode()


# Each kind of request, the seconds between two of it, and the second of the first: they take turns.
SCHEDULE: tuple[tuple[Callable[[random.Random], Request], float, float], ...] = (
    (browse, 1.0, 0.0),
    (read, 1.0, 0.5),
    (order, 2.0, 0.25),
)


class Prober:
    """Sends the schedule until `stop` is set, and counts outcomes: good < 400, refused 4xx, bad 5xx or no answer."""

    def __init__(self, gateway: str, seed: int = 0, issuer: str = "", tls_endpoint: str = "") -> None:
        self.counts = dict.fromkeys(OUTCOMES, 0)
        self.expiry: float | None = None
        self._tls_endpoint = tls_endpoint
        self._client = TrafficClient(gateway, user_agent=USER_AGENT, max_connections=8, timeout_s=TIMEOUT_S)
        self._draw = random.Random(seed)
        self._issuer = issuer

    async def run(self, stop: asyncio.Event) -> None:
        """Probe until `stop`."""
        probes = [asyncio.create_task(self._repeat(*entry)) for entry in SCHEDULE]
        probes.append(asyncio.create_task(self._stay_signed_in()))
        if self._tls_endpoint:
            probes.append(asyncio.create_task(self._watch_certificate()))
        try:
            await stop.wait()
        finally:
            for probe in probes:
                probe.cancel()
            await asyncio.gather(*probes, return_exceptions=True)
            await self._client.close()

    async def _stay_signed_in(self) -> None:
        while self._issuer:
            token = await fetch_token(self._issuer)
            if token is not None:
                self._client.sign_in(token)
            await asyncio.sleep(REFRESH_S if token else 1.0)

    async def _repeat(self, build: Callable[[random.Random], Request], every_s: float, first_s: float) -> None:
        """One request a turn; a turn that comes while the last request still waits is left out."""
        loop = asyncio.get_running_loop()
        start = loop.time() + first_s
        for turn in count():
            due = start + turn * every_s
            if (delay := due - loop.time()) > -every_s:
                await asyncio.sleep(max(delay, 0.0))
                self.counts[await self._send(build(self._draw))] += 1

    async def _watch_certificate(self) -> None:
        """Look when the endpoint's certificate ends, and say so once when that is soon."""
        said: float | None = None
        while True:
            self.expiry = await observe_expiry(self._tls_endpoint)
            left_s = None if self.expiry is None else self.expiry - time.time()
            if left_s is not None and left_s < EXPIRES_SOON_S and self.expiry != said:
                said = self.expiry
                _say(f"the certificate of {self._tls_endpoint} ends in {left_s / 3600:.1f} h")
            await asyncio.sleep(CERTIFICATE_INTERVAL_S)

    async def _send(self, request: Request) -> str:
        try:
            status = (await self._client.send(*request)).status
        except NoAnswer:
            return "bad"
        return "good" if status < 400 else "refused" if status < 500 else "bad"

    def emit_metrics(self) -> str:
        """The counts as Prometheus' text format."""
        lines = ["# HELP probe_requests_total Synthetic requests, by outcome.", "# TYPE probe_requests_total counter"]
        lines += [f'probe_requests_total{{outcome="{outcome}"}} {number}' for outcome, number in self.counts.items()]
        if self._tls_endpoint:
            lines += [
                "# HELP probe_ssl_success Whether the TLS endpoint could be looked at.",
                "# TYPE probe_ssl_success gauge",
                f'probe_ssl_success{{endpoint="{self._tls_endpoint}"}} {int(self.expiry is not None)}',
            ]
        if self.expiry is not None:
            lines += [
                "# HELP probe_ssl_earliest_cert_expiry When its certificate ends, seconds since the epoch.",
                "# TYPE probe_ssl_earliest_cert_expiry gauge",
                f'probe_ssl_earliest_cert_expiry{{endpoint="{self._tls_endpoint}"}} {self.expiry:.0f}',
            ]
        return "\n".join(lines) + "\n"


async def answer(prober: Prober, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One request to the prober itself: /livez, /readyz and /metrics; the connection is closed after it."""
    with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
        async with asyncio.timeout(TIMEOUT_S):
            head = await reader.readuntil(b"\r\n\r\n")
            method, _, rest = head.decode("latin-1").partition(" ")
            status, kind, body = _respond(prober, method, rest.partition(" ")[0])
            lines = (f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(body)}", "Connection: close")
            writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + (b"" if method == "HEAD" else body))
            await writer.drain()
    writer.close()


def _respond(prober: Prober, method: str, target: str) -> tuple[str, str, bytes]:
    path = target.partition("?")[0]
    if method not in ("GET", "HEAD"):
        return "405 Method Not Allowed", "text/plain", b"GET only\n"
    if path in ("/livez", "/readyz"):
        return "200 OK", "application/json", b'{"status":"ok"}\n'
    if path == "/metrics":
        return "200 OK", "text/plain; version=0.0.4; charset=utf-8", prober.emit_metrics().encode()
    return "404 Not Found", "text/plain", b"/livez, /readyz or /metrics\n"


def _say(what: str) -> None:
    sys.stdout.write(f"{datetime.now(UTC).isoformat(timespec='seconds')} {what}\n")
    sys.stdout.flush()


async def serve(gateway: str, issuer: str, host: str, port: int, tls_endpoint: str = "") -> None:
    """Probe and answer until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    prober = Prober(gateway, issuer=issuer, tls_endpoint=tls_endpoint)
    server = await asyncio.start_server(lambda reader, writer: answer(prober, reader, writer), host, port)
    async with server:
        await prober.run(stop)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m incidents.prober", description="Steady synthetic traffic.")
    parser.add_argument("--gateway", metavar="URL", default=os.environ.get(GATEWAY_VARIABLE, "http://127.0.0.1:8080"))
    parser.add_argument("--issuer", metavar="URL", default=os.environ.get(ISSUER_VARIABLE, ""))
    parser.add_argument("--tls", metavar="HOST:PORT", default=os.environ.get(TLS_VARIABLE, ""))
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8180)
    arguments = parser.parse_args()
    try:
        asyncio.run(serve(arguments.gateway, arguments.issuer, arguments.host, arguments.port, arguments.tls))
    except (OSError, ValueError) as error:
        sys.stderr.write(f"prober: {error}. Choose another --port or --gateway.\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
