"""What strangers do with connections, each for as long as its context lasts: say nothing, say it slowly, say nonsense.

Loopback only. Each gives a tally of what came of it, which is whole when the context has ended.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from bench.idle.malformed import LARGEST_HEAD, MALFORMED

# Source addresses on loopback: one has some 28,000 ports, and closed connections keep theirs for a minute.
SOURCES = [f"127.0.0.{number}" for number in range(2, 6)]
AT_ONCE = 200  # connections that are being opened
DRIP_S = 1.0  # between the bytes of a slow one
ANSWER_S = 5.0  # nonsense is waited for no longer

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Tally = Counter[str]


@dataclass(frozen=True)
class Target:
    """Where to go, and a path there that costs nothing."""

    name: str
    url: str
    greeting: str

    async def open(self, number: int) -> Connection:
        """A new connection."""
        parts = urlsplit(self.url)
        source = (SOURCES[number % len(SOURCES)], 0)
        return await asyncio.open_connection(parts.hostname, parts.port or 80, local_addr=source, limit=65_536)


Pressure = Callable[[Target], AbstractAsyncContextManager[Tally]]
"""One of those below with its number, as a ``partial``: it has to travel to another process."""


async def ask(connection: Connection, path: str) -> int:
    """One request on a connection that stays open; its status."""
    reader, writer = connection
    writer.write(f"GET {path} HTTP/1.1\r\nHost: shop\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    await reader.readexactly(length)
    return int(head.split()[1])


@asynccontextmanager
async def idle(count: int, target: Target) -> AsyncIterator[Tally]:
    """``count`` connections that have asked once and stay. Who never says anything is hung up on by the gateway."""
    held: list[Connection] = []
    for first in range(0, count, AT_ONCE):
        opened = await asyncio.gather(*(target.open(n) for n in range(first, min(first + AT_ONCE, count))))
        held += opened
        await asyncio.gather(*(ask(connection, target.greeting) for connection in opened))
    tally = Tally(opened=count)
    yield tally
    tally["still_open"] = sum(not reader.at_eof() for reader, _ in held)
    for _, writer in held:
        writer.close()


@asynccontextmanager
async def slow(count: int, target: Target) -> AsyncIterator[Tally]:
    """``count`` connections on each of which a header comes a byte at a time; who is hung up on comes again."""

    async def drip(number: int) -> None:
        while True:
            reader, writer = await target.open(number)
            tally["opened"] += 1
            try:
                writer.write(b"GET /v2/products HTTP/1.1\r\nHost: shop\r\nX-Slow: ")
                while not reader.at_eof():
                    writer.write(b"a")
                    with suppress(TimeoutError):
                        await asyncio.wait_for(reader.read(1000), DRIP_S)
            except OSError:
                pass
            finally:
                writer.close()
            tally["hung_up_on"] += 1

    tally = Tally(opened=0, hung_up_on=0)
    dripping = [asyncio.create_task(drip(number)) for number in range(count)]
    yield tally
    for task in dripping:
        task.cancel()
    tally["failed"] = sum(isinstance(end, OSError) for end in await asyncio.gather(*dripping, return_exceptions=True))


@asynccontextmanager
async def malformed(per_s: float, target: Target) -> AsyncIterator[Tally]:
    """``per_s`` requests a second that are none or just about one, all kinds in turn, each on its own connection."""

    async def send(number: int, nonsense: bytes) -> None:
        said = b""
        try:
            reader, writer = await target.open(number)
            with suppress(OSError, TimeoutError):
                writer.write(nonsense)
                writer.write_eof()
                said = await asyncio.wait_for(reader.read(1000), ANSWER_S)
            writer.close()
        except OSError:
            tally["failed"] += 1
            return
        words = said.split(maxsplit=2)
        tally[f"answered_{words[1].decode('ascii', 'replace')}" if len(words) > 1 else "hung_up_on"] += 1

    async def keep_sending() -> None:
        for number, nonsense in enumerate(itertools.cycle((*MALFORMED.values(), LARGEST_HEAD))):
            sending.add(task := asyncio.create_task(send(number, nonsense)))
            task.add_done_callback(sending.discard)
            await asyncio.sleep(1 / per_s)

    tally, sending = Tally(), set[asyncio.Task[None]]()
    keeping = asyncio.create_task(keep_sending())
    yield tally
    keeping.cancel()
    await asyncio.gather(keeping, *sending, return_exceptions=True)
