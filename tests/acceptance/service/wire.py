"""A wire to a server that can be cut: from then on nothing comes through, and neither side is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass
class Wire:
    """``url`` is the server's, by way of this wire."""

    url: str
    whole: asyncio.Event = field(default_factory=asyncio.Event)

    def cut(self) -> None:
        self.whole.clear()

    def mend(self) -> None:
        """New connections come through; what was said meanwhile is lost, as is who said it."""
        self.whole.set()


@asynccontextmanager
async def wire_to(url: str) -> AsyncIterator[Wire]:
    """A wire to the server at ``url``."""
    parts = urlsplit(url)
    tasks: set[asyncio.Task[None]] = set()
    over = asyncio.Event()

    async def carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while wire.whole.is_set() and (data := await source.read(65536)):
                if not wire.whole.is_set():
                    break
                sink.write(data)
                await sink.drain()
            if wire.whole.is_set():
                sink.close()

    async def connect(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        if not wire.whole.is_set():
            await over.wait()  # the connection stands, and nobody is at its end
            return
        far_source, far_sink = await asyncio.open_connection(parts.hostname, parts.port)
        for ends in ((source, far_sink), (far_source, sink)):
            task = asyncio.create_task(carry(*ends))
            tasks.add(task)

    server = await asyncio.start_server(connect, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    wire = Wire(url.replace(f"{parts.hostname}:{parts.port}", f"127.0.0.1:{port}"))
    wire.mend()
    try:
        yield wire
    finally:
        over.set()
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
