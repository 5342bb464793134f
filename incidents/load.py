"""The load as a child process, so that sending and observing do not disturb each other.

Owns the child's life: it is started, followed and always ended. Refuses to know what it sends.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from incidents import drive

STOP_S = 10.0
_LONGEST_LINE = 64 * 1024 * 1024
"""The result comes as one line: some 150 bytes for every second of the run."""


class Load:
    """A job under way. Start it, read `seconds` as they come, then `stop` it."""

    def __init__(self, job: drive.Job) -> None:
        self.job = job
        self.seconds: list[dict[str, Any]] = []
        self._result: dict[str, Any] | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start sending. The child leads a session of its own, so that Ctrl-C reaches only its owner."""
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "incidents.drive"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=Path(__file__).parent.parent,
            start_new_session=True,
            limit=_LONGEST_LINE,
        )
        assert self._process.stdin is not None
        self._process.stdin.write(self.job.emit().encode() + b"\n")
        await self._process.stdin.drain()
        self._reader = asyncio.create_task(self._read())

    async def stop(self) -> dict[str, Any] | None:
        """End the load and return its result; None when it never started or was lost. Safe to call twice."""
        if self._process is None or self._reader is None:
            return None
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            async with asyncio.timeout(STOP_S):
                await self._reader
                await self._process.wait()
        except TimeoutError:
            if self._process.returncode is None:
                self._process.kill()
                await self._process.wait()
        return self._result

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            document = json.loads(line)
            if "result" in document:
                self._result = document["result"]
            else:
                self.seconds.append(document["second"])
