"""The service twice in one process, with the door and without, each answering for a turn: ``python -m
bench.telemetry.turning --port P --result FILE``.

Two processes of one program differ by more than a change of the door does (where their memory lies); within one, turns
of 50 ms show a few microseconds. Owns the turns and their account: CPU time of the loop's thread, requests. Knows
nothing of load and arithmetic. ``bench.telemetry.turns`` drives it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from bench.telemetry.subject import build_subject
from service.server import serve
from service.telemetry import telemetry as door

TURN_S = 0.05
MODES = ("bare", "all")


class Turns:
    """An ASGI application that is one of ``apps`` at a time. Turns begin with the first request.

    ``taken``: ``(mode, CPU ns, requests)`` of each turn, in pairs, which of a pair comes first being chance.
    """

    def __init__(self) -> None:
        self._apps: dict[str, FastAPI] = {}
        self._doors: dict[str, Any] = {}
        for mode in MODES:
            self._apps[mode] = build_subject(mode)
            self._doors[mode] = door.current()
        self.health = self._apps["all"].state.health
        self._draw = random.Random(0)
        self._next: list[str] = []
        self._mode = ""
        self._since = (0, 0)
        self._requests = 0
        self.taken: list[tuple[str, int, int]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        if not self._mode:
            self._turn()
        self._requests += 1
        await self._apps[self._mode](scope, receive, send)

    def _turn(self) -> None:
        now = (time.thread_time_ns(), self._requests)
        if self._mode:
            self.taken.append((self._mode, now[0] - self._since[0], now[1] - self._since[1]))
        if not self._next:
            self._next = list(MODES)
            self._draw.shuffle(self._next)
        self._mode, self._since = self._next.pop(), now
        door._make_current(self._doors[self._mode])
        asyncio.get_running_loop().call_later(TURN_S, self._turn)

    async def _live(self, receive: Any, send: Any) -> None:
        async with AsyncExitStack() as lives:
            await receive()
            for mode, app in self._apps.items():
                door._make_current(self._doors[mode])
                await lives.enter_async_context(app.router.lifespan_context(app))
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})


def main() -> None:
    """Serve until told to stop, then write down the turns."""
    parser = argparse.ArgumentParser(prog="python -m bench.telemetry.turning")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--result", type=Path, required=True)
    options = parser.parse_args()
    turns = Turns()
    serve(turns, turns.health, host="127.0.0.1", port=options.port, drain_s=0, trusted_proxies="127.0.0.1")  # type: ignore[arg-type]
    options.result.write_text(json.dumps(turns.taken))


if __name__ == "__main__":
    main()
