"""The process that keeps the stack running: every wanted part is cared for, the state is told, all end in order.

Talked to by signals: SIGHUP makes it read the wish again, SIGTERM ends the stack. What it does, the state document
tells. Knows nothing of how a single part lives.
"""

import asyncio
import json
import logging
import signal
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from stack.components import STEPS, Component, Step, components
from stack.layout import Layout
from stack.native.credentials import Credentials
from stack.native.launch import Blueprint, read_wish, revision_of
from stack.native.locks import Taken, held
from stack.native.part import ComponentPart, Part, StepPart, first_of
from stack.native.processes import own_identity, rotate
from stack.state import StackState, write_state

PUBLISHING_INTERVAL_S = 0.05
ROTATION_INTERVAL_S = 10.0
LETTING_GO_S = 10.0  # how long a replica waits for the gateway to let go of it
JOINING_S = 30.0  # and how long the gateway waits for new replicas before it is told of them
THREADS = 32  # every backend may be waiting for its build in one, and the others must still find theirs

log = logging.getLogger("supervisor")


class Supervisor:
    """One running stack; `catalogue` and `steps` are what it consists of."""

    def __init__(
        self,
        layout: Layout,
        *,
        catalogue: Callable[[int], tuple[Component, ...]] = components,
        steps: Iterable[Step] = STEPS,
    ) -> None:
        self.layout = layout
        self._catalogue = catalogue
        self._credentials = Credentials(layout.secrets)
        self._revision = revision_of(layout)
        self.blueprint = self._draw()
        self._stop, self._wished, self._unpublished = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._news = asyncio.Event()
        self._parts: dict[str, ComponentPart] = {}
        self._steps = {step.name: StepPart(step, self) for step in steps}
        self._state = StackState(
            **asdict(own_identity()),
            started_at=datetime.now(UTC).isoformat(timespec="seconds"),
            clock=self.blueprint.wish.clock,
            replicas=self.blueprint.wish.replicas,
            port_offset=layout.port_offset,
        )

    async def run(self) -> None:
        """Keep the stack until SIGTERM or SIGINT; when this returns, every process it started is gone."""
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(THREADS))
        loop.add_signal_handler(signal.SIGHUP, self._wished.set)
        for ending in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(ending, self._stop.set)
        self._forget()
        chores = [asyncio.create_task(chore) for chore in (self._publish(), self._rotate_logs())]
        self._wished.set()
        while not self._stop.is_set():
            if self._wished.is_set():
                self._wished.clear()
                await self._take_wish()
            await first_of(self._stop.wait(), self._wished.wait())
        log.info("stopping")
        self._state.stopping = True
        await self._end({**self._parts, **self._steps})
        for chore in chores:
            chore.cancel()
        self._state_path.unlink(missing_ok=True)
        log.info("stopped")

    def _forget(self) -> None:
        for part in self.blueprint.parts:
            for name in part.forgets:
                (self.layout.data / part.name / name).unlink(missing_ok=True)

    # what parts see

    def blocker(self, needs: Sequence[str]) -> Part | None:
        """The first of these needs that is not ready; of replicas that serve one need, the most promising."""
        for need in needs:
            candidates: list[Part] = [part for part in self._parts.values() if part.component.job == need]
            candidates += [self._steps[need]] if need in self._steps else []
            if not any(part.ready for part in candidates):
                return min(candidates, key=lambda part: part.hopeless)
        return None

    async def news(self) -> None:
        """Returns when something changed in any part."""
        await self._news.wait()

    def tell(self) -> None:
        """Something changed: wake those who wait for it, and have it published."""
        self._news.set()
        self._news = asyncio.Event()
        self._unpublished.set()

    # what is wanted

    def _draw(self) -> Blueprint:
        wish = read_wish(self.layout)
        return Blueprint(self.layout, wish, self._catalogue(wish.replicas), self._credentials, self._revision)

    async def _take_wish(self) -> None:
        """Start what is wanted anew, let what runs take what changed, end what is not wanted any more."""
        self.blueprint = self._draw()
        wish, known = self.blueprint.wish, self._parts
        log.info("clock %g, %d replicas", wish.clock, wish.replicas)
        self._parts = {part.name: known.get(part.name) or ComponentPart(part, self) for part in self.blueprint.parts}
        self._state.clock, self._state.replicas, self._state.wish = wish.clock, wish.replicas, wish.number
        if known:
            await self._begin([part for name, part in self._parts.items() if name not in known])
        for part in (*self._steps.values(), *self._parts.values()):
            part.heed()
        self.tell()
        unwanted = {name: part for name, part in known.items() if name not in self._parts}
        if unwanted:
            with suppress(TimeoutError):  # the gateway lets go of a replica before the replica goes
                async with asyncio.timeout(LETTING_GO_S):
                    await self._all_heeded()
            await self._end(unwanted)

    async def _begin(self, added: Sequence[Part]) -> None:
        """Start parts that join a running stack. The others hear of them once they are ready: a gateway would send
        requests to replicas that do not answer yet, and most of all to those, since they have the fewest."""

        async def begun() -> None:
            while not all(part.ready or part.hopeless for part in added):
                await self.news()

        for part in added:
            part.heed()
        self.tell()
        await first_of(self._stop.wait(), begun(), timeout_s=JOINING_S)

    async def _all_heeded(self) -> None:
        while any(part.ready and not self._heeded(part) for part in self._parts.values()):
            await self.news()

    def _heeded(self, part: Part) -> bool:
        return part.heeded == self.blueprint.wish.number

    async def _end(self, parts: Mapping[str, Part]) -> None:
        """End parts, each after those that need it or send to it."""
        endings: dict[str, asyncio.Task[None]] = {}

        async def end(part: Part) -> None:
            before = [endings[other.name] for other in parts.values() if leans_on(other, part)]
            if before:
                await asyncio.wait(before)
            await part.end()

        for name, part in parts.items():
            endings[name] = asyncio.create_task(end(part))
        await asyncio.gather(*endings.values())

    # what is told

    @property
    def _state_path(self) -> Path:
        return self.layout.run / "state.json"

    async def _publish(self) -> None:
        while True:
            await self._unpublished.wait()
            self._unpublished.clear()
            parts = list(self._parts.values())
            self._state.components = [part.state for part in parts]
            self._state.urls = {part.name: part.state.url for part in parts if part.component.url}
            for part in parts:
                if part.state.state == "absent":
                    self._state.urls[part.name] = None
            self._state.ready = not self._state.stopping and all(
                (part.ready and self._heeded(part)) or (part.component.optional and part.state.state == "absent")
                for part in parts
            )
            try:
                write_state(self._state_path, self._state)
            except OSError as error:
                log.error("the state cannot be written: %s", error)
            await asyncio.sleep(PUBLISHING_INTERVAL_S)

    async def _rotate_logs(self) -> None:
        while True:
            await asyncio.sleep(ROTATION_INTERVAL_S)
            for path in self.layout.logs.glob("*.log"):
                await asyncio.to_thread(rotate, path)


def leans_on(part: Part, other: Part) -> bool:
    """Whether `part` has to be gone before `other` may go."""
    name = other.component.job if isinstance(other, ComponentPart) else other.name
    sends_to = part.component.sends_to if isinstance(part, ComponentPart) else ()
    return name in part.needs or name in sends_to


def main() -> int:
    """Run the supervisor of this checkout's stack; called by `signalbox up` in a session of its own."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    layout = Layout.from_environment()
    try:
        with held(layout.run / "supervisor.lock"):
            (layout.run / "supervisor.pid").write_text(json.dumps(asdict(own_identity())))
            asyncio.run(supervise(layout))
    except Taken:
        log.error("another supervisor keeps %s", layout.state)
        return 1
    return 0


async def supervise(layout: Layout) -> None:
    """Build the supervisor inside its event loop and run it."""
    await Supervisor(layout).run()


if __name__ == "__main__":
    sys.exit(main())
