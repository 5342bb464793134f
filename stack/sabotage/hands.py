"""Who lays hands on the processes of the stack: this process itself, or somebody on the host of the containers.

Owns both ways and the wire between. Knows components by name only, and no fault.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

from stack.errors import StackError
from stack.layout import Layout
from stack.native import control
from stack.native.processes import Identity
from stack.sabotage.fault import Record, Refused

LOOK_INTERVAL_S = 0.2
PICK_UP_S = 5.0  # a hand on the host asks again at once; one that has not asked for so long is not there
CARRY_OUT_S = 15.0

Deed = Literal["find", "freeze", "thaw", "keep-down", "let-up", "override"]


class Hands(Protocol):
    """What can be done to a component. Every deed may be done twice, and raises Refused when it cannot be done."""

    async def find(self, component: str) -> Record:
        """Whatever is needed to know its process again."""

    async def freeze(self, component: str, record: Record) -> None:
        """It is there and does nothing; its connections stay open."""

    async def thaw(self, component: str, record: Record) -> None:
        """It goes on. Nothing happens when it is gone."""

    async def keep_down(self, component: str) -> None:
        """It is killed hard and does not come back."""

    async def let_up(self, component: str) -> None:
        """It comes back."""

    async def override(self, component: str, environment: dict[str, str] | None) -> None:
        """It is started anew with these variables on top of its own; None takes them back."""


class OwnHands:
    """Processes of this machine, by their pids in the state document."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._killers: dict[str, asyncio.Task[None]] = {}

    async def find(self, component: str) -> Record:
        identity = self._identity(component)
        return {"pid": identity.pid, "created": identity.created}

    async def freeze(self, component: str, record: Record) -> None:
        os.kill(record["pid"], signal.SIGSTOP)

    async def thaw(self, component: str, record: Record) -> None:
        if Identity(record["pid"], record["created"]).process() is not None:
            os.kill(record["pid"], signal.SIGCONT)

    async def keep_down(self, component: str) -> None:
        """Again as soon as the supervisor has brought it back."""
        if component not in self._killers:
            self._killers[component] = asyncio.create_task(self._kill(component))

    async def let_up(self, component: str) -> None:
        """The supervisor is asked not to wait any longer before its next try."""
        if killer := self._killers.pop(component, None):
            killer.cancel()
            await asyncio.wait({killer})
        control.hurry(self._layout)

    async def override(self, component: str, environment: dict[str, str] | None) -> None:
        try:
            await asyncio.to_thread(control.override, self._layout, component, environment)
        except StackError as error:
            raise Refused(str(error)) from None

    async def _kill(self, component: str) -> None:
        while True:
            with suppress(Refused, ProcessLookupError):
                identity = self._identity(component)
                if identity.process() is not None:
                    os.kill(identity.pid, signal.SIGKILL)
            await asyncio.sleep(LOOK_INTERVAL_S)

    def _identity(self, component: str) -> Identity:
        state = control.current_state(self._layout)
        part = state.named(component) if state else None
        if part is None:
            names = ", ".join(one.name for one in state.components) if state else "none"
            raise Refused(f"there is no component {component!r} to disturb. There are {names}")
        if part.pid is None or part.created is None:
            raise Refused(f"{component} does not run ({part.state}). See `signalbox status`")
        return Identity(part.pid, part.created)


@dataclass(frozen=True)
class Order:
    """Something to be done on the host."""

    number: int
    deed: Deed
    component: str
    environment: dict[str, str] | None = None

    def document(self) -> dict[str, Any]:
        """As it is sent."""
        return asdict(self)


class HandsOnHost:
    """Containers, by somebody on their host who asks here for orders (`stack.container.hands`).

    It is the host that calls: a container that could reach the engine would be root there.
    """

    def __init__(self, pick_up_s: float = PICK_UP_S) -> None:
        self._pick_up_s = pick_up_s
        self._orders: asyncio.Queue[Order] = asyncio.Queue()
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[None]] = {}
        self._taken: set[int] = set()

    async def find(self, component: str) -> Record:
        await self._order("find", component)
        return {}

    async def freeze(self, component: str, record: Record) -> None:
        await self._order("freeze", component)

    async def thaw(self, component: str, record: Record) -> None:
        await self._order("thaw", component)

    async def keep_down(self, component: str) -> None:
        await self._order("keep-down", component)

    async def let_up(self, component: str) -> None:
        await self._order("let-up", component)

    async def override(self, component: str, environment: dict[str, str] | None) -> None:
        await self._order("override", component, environment)

    async def take(self, wait_s: float) -> Order | None:
        """The next order, for whoever carries it out; None when there was none for `wait_s`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                while True:
                    order = await self._orders.get()
                    if order.number in self._answers:  # else nobody waits for it any more
                        self._taken.add(order.number)
                        return order
        return None

    def answer(self, number: int, problem: str) -> None:
        """What came of an order; `problem` is empty when it was carried out."""
        waiting = self._answers.get(number)
        if waiting is None or waiting.done():
            return
        if problem:
            waiting.set_exception(Refused(problem))
        else:
            waiting.set_result(None)

    async def _order(self, deed: Deed, component: str, environment: dict[str, str] | None = None) -> None:
        order = Order(next(self._numbers), deed, component, environment)
        waiting = self._answers[order.number] = asyncio.get_running_loop().create_future()
        self._orders.put_nowait(order)
        try:
            await asyncio.wait({waiting}, timeout=self._pick_up_s)
            if not waiting.done() and order.number not in self._taken:
                raise Refused(
                    "nobody on the host carries it out. `signalbox up --form compose` starts who does, "
                    "`docker compose up` alone does not"
                )
            async with asyncio.timeout(CARRY_OUT_S):
                await waiting
        finally:
            waiting.cancel()
            self._taken.discard(order.number)
            del self._answers[order.number]
