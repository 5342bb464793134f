"""Which faults are on: told to everybody, kept on disk, ended in time.

Owns the certainty that what was broken is mended: the record that undoing needs is written before anything is broken,
a process that starts undoes what it finds written, and a fault with `for_s` ends by itself. Knows no fault.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stack.sabotage.fault import Fault, Parameters, Record

log = logging.getLogger("faults")

UNDO_TIMEOUT_S = 20.0
RETRY_S = 2.0


class Unknown(Exception):
    """No fault has this name."""


@dataclass
class Entry:
    """A fault that is on."""

    parameters: Parameters
    record: Record
    expiry: asyncio.TimerHandle | None = None


class Ledger:
    """The faults of this process. `tell(name, parameters)` hears of every change; None when it was switched off."""

    def __init__(self, faults: Iterable[Fault], path: Path, tell: Callable[[str, Parameters | None], None]) -> None:
        self.known = {fault.name: fault for fault in faults}
        self.active: dict[str, Entry] = {}
        self._path = path
        self._tell = tell
        self._lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    def restore(self) -> None:
        """Begin to undo what an earlier process left broken."""
        for name, parameters, record in self._read():
            fault = self.known.get(name)
            if fault is not None:
                self.active[name] = Entry(fault.parameters.model_validate(parameters), record)
        for name in list(self.active):
            self._expire(name)

    async def switch_on(self, name: str, given: dict[str, Any]) -> None:
        """Switch a fault on; one that is on is undone first. Raises Unknown, Refused, pydantic.ValidationError."""
        fault = self._fault(name)
        parameters = fault.parameters.model_validate(given)
        async with self._lock:
            await self._undo(name)
            record = await fault.plan(parameters)
            entry = self.active[name] = Entry(parameters, record)
            self._write()
            try:
                await fault.apply(parameters, record)
            except BaseException:
                await self._undo(name)
                raise
            if parameters.for_s is not None:
                entry.expiry = asyncio.get_running_loop().call_later(parameters.for_s, self._expire, name)
            self._tell(name, parameters)

    async def switch_off(self, name: str) -> None:
        """Switch a fault off; nothing happens when it is off. Raises Unknown, and what undoing raises."""
        self._fault(name)
        async with self._lock:
            await self._undo(name)

    async def switch_all_off(self) -> None:
        """Switch every fault off, the others too when one resists. Raises the first trouble."""
        results = await asyncio.gather(*(self.switch_off(name) for name in list(self.active)), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    def _fault(self, name: str) -> Fault:
        try:
            return self.known[name]
        except KeyError:
            raise Unknown(f"no fault named {name!r} here; known: {', '.join(self.known)}") from None

    async def _undo(self, name: str) -> None:
        entry = self.active.get(name)
        if entry is None:
            return
        if entry.expiry is not None:
            entry.expiry.cancel()
        async with asyncio.timeout(UNDO_TIMEOUT_S):
            await self.known[name].undo(entry.parameters, entry.record)
        del self.active[name]
        self._write()
        self._tell(name, None)

    def _expire(self, name: str) -> None:
        task = asyncio.create_task(self._end_for_certain(name))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _end_for_certain(self, name: str) -> None:
        """Undo, and try again until it is undone: nobody else will."""
        while name in self.active:
            try:
                await self.switch_off(name)
            except Exception as error:
                log.warning("%s cannot be undone yet: %s", name, error)
                await asyncio.sleep(RETRY_S)

    def _read(self) -> list[tuple[str, dict[str, Any], Record]]:
        try:
            return [(one["name"], one["parameters"], one["record"]) for one in json.loads(self._path.read_text())]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.error("%s cannot be read: %s. A fault may be left on; see `signalbox fault list`", self._path, error)
            return []

    def _write(self) -> None:
        document = [
            {"name": name, "parameters": entry.parameters.model_dump(), "record": entry.record}
            for name, entry in self.active.items()
        ]
        unfinished = self._path.with_suffix(".new")
        unfinished.write_text(json.dumps(document))
        unfinished.replace(self._path)
