"""``make bench-idle``: 10,000 idle connections held at the gateway while others ask; needs the stack up. Loopback only.

Asks at a steady rate in turns, without and with the idle connections, and compares the quantiles of both. Each of the
idle ones has asked once: who never says anything is hung up on after 5 s, and no bench can hold it. Writes
``bench/results/idle.json``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import sys
import time
from typing import Any
from urllib.parse import urlsplit

from bench.keep import keep

REQUEST = b"GET /v2/products/42 HTTP/1.1\r\nHost: shop\r\n\r\n"
GREETING = b"GET /healthz HTTP/1.1\r\nHost: shop\r\n\r\n"
RATE_PER_S = 50.0
# Source addresses on loopback: one has some 28,000 ports, and closed connections keep theirs for a minute.
SOURCES = [f"127.0.0.{number}" for number in range(2, 6)]

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _open(host: str, port: int, number: int) -> Connection:
    return await asyncio.open_connection(host, port, local_addr=(SOURCES[number % len(SOURCES)], 0), limit=4096)


async def _ask(connection: Connection, request: bytes = REQUEST) -> int:
    reader, writer = connection
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    await reader.readexactly(length)
    return int(head.split()[1])


async def _measure(host: str, port: int, seconds: float) -> list[float]:
    """Latencies in milliseconds, counted from when each request was meant to leave."""
    connections = [await _open(host, port, number) for number in range(8)]
    free: asyncio.Queue[Connection] = asyncio.Queue()
    for connection in connections:
        free.put_nowait(connection)
    latencies: list[float] = []
    start = time.perf_counter()

    async def one(meant: float) -> None:
        await asyncio.sleep(max(0.0, meant - time.perf_counter()))
        connection = await free.get()
        assert await _ask(connection) == 200
        latencies.append((time.perf_counter() - meant) * 1e3)
        free.put_nowait(connection)

    await asyncio.gather(*(one(start + number / RATE_PER_S) for number in range(int(seconds * RATE_PER_S))))
    for _, writer in connections:
        writer.close()
    return latencies


async def _hold(host: str, port: int, count: int) -> list[Connection]:
    held: list[Connection] = []
    for first in range(0, count, 200):
        numbers = range(first, min(first + 200, count))
        opened = await asyncio.gather(*(_open(host, port, number) for number in numbers))
        await asyncio.gather(*(_ask(connection, GREETING) for connection in opened))
        held += opened
    return held


def _quantiles(latencies: list[float]) -> dict[str, float]:
    ordered = sorted(latencies)
    return {f"p{q}_ms": round(ordered[int(len(ordered) * q / 100)], 2) for q in (50, 90, 99)}


async def run(gateway: str, count: int, seconds: float, turns: int) -> dict[str, Any]:
    """Figures of ``turns`` turns of ``seconds`` each way."""
    parts = urlsplit(gateway)
    host, port = parts.hostname or "127.0.0.1", parts.port or 80
    without: list[float] = []
    within: list[float] = []
    still_open = 0
    for _ in range(turns):
        without += await _measure(host, port, seconds)
        held = await _hold(host, port, count)
        within += await _measure(host, port, seconds)
        still_open = sum(not reader.at_eof() for reader, _ in held)
        for _, writer in held:
            writer.close()
        await asyncio.sleep(1)
    return {
        "idle_connections": count,
        "still_open": still_open,
        "requests": len(without) + len(within),
        "without": _quantiles(without),
        "with": _quantiles(within),
    }


def main() -> int:
    """Run and print the figures. Returns 1 when connections were lost."""
    parser = argparse.ArgumentParser(prog="python -m bench.idle", description=__doc__)
    parser.add_argument("--gateway", default="http://127.0.0.1:8080")
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=3.0, help="of load in each turn")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--no-write", action="store_true")
    options = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, options.connections + 200), most))
    figures = asyncio.run(run(options.gateway, options.connections, options.seconds, options.turns))
    sys.stdout.write(json.dumps(figures) + "\n")
    if not options.no_write:
        keep("idle", figures)
    return 0 if figures["still_open"] == options.connections else 1


if __name__ == "__main__":
    sys.exit(main())
