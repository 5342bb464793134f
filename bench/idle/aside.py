"""Strangers live in a process of their own: in the measuring one, opening connections would be what is measured."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection

from bench.idle.pressure import Pressure, Tally, Target


@asynccontextmanager
async def aside(pressure: Pressure, target: Target) -> AsyncIterator[Tally]:
    """``pressure`` on ``target`` from another process. Raises EOFError when that ends before its time."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_press, args=(theirs, pressure, target), daemon=True)
    process.start()
    theirs.close()
    tally = Tally()
    try:
        await asyncio.to_thread(ours.recv)
        yield tally
        ours.send("enough")
        tally.update(await asyncio.to_thread(ours.recv))
    finally:
        ours.close()
        await asyncio.to_thread(process.join)


def _press(pipe: Connection, pressure: Pressure, target: Target) -> None:
    async def until_told() -> Tally:
        async with pressure(target) as tally:
            pipe.send("begun")
            await asyncio.to_thread(pipe.recv)
        return tally

    pipe.send(asyncio.run(until_told()))
