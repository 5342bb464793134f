"""The life of one part: wait for what it needs, find its program, start it, watch it, and begin again when it dies.

Knows nothing of the other parts but what the stack around it answers, and no component by name.
"""

import asyncio
import logging
import random
import shutil
import signal
import threading
import time
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from stack import backends
from stack.components import Component, Step
from stack.errors import StackError
from stack.layout import Layout
from stack.native import postgres, probes
from stack.native.launch import Blueprint, Ground, Launch, own_version
from stack.native.ports import listens
from stack.native.processes import Child, obituary, run_to_end, start_child
from stack.state import ComponentPhase, ComponentState

STARTING_INTERVAL_S = 0.15  # between looks at a component that is not ready yet
WATCHING_INTERVAL_S = 3.0  # and at one that is
FAILED_AFTER = 3  # deaths in a row until a part is called failed
LASTING_S = 60.0  # after being ready this long, its deaths count anew
CANCELLING_INTERVAL_S = 0.5
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
LEAST_FREE_BYTES = 50 * 1024 * 1024

log = logging.getLogger("supervisor")


class Died(Exception):
    """A component's process ended."""


class NeverReady(Exception):
    """A component's process runs but did not become ready in its time."""


class Stack(Protocol):
    """What a part sees of the stack around it."""

    layout: Layout
    blueprint: Blueprint

    def blocker(self, needs: Sequence[str]) -> "Part | None":
        """The first of these needs that is not ready."""

    async def news(self) -> None:
        """Returns when something changed in any part."""

    def tell(self) -> None:
        """Something changed in this part."""


class Part:
    """A component or step under care, and what is said about it."""

    needs: tuple[str, ...]

    def __init__(self, name: str, stack: Stack) -> None:
        self.name = name
        self.stack = stack
        self.state = ComponentState(name)
        self.heeded = -1  # number of the last wish that this part has taken
        self._wake = asyncio.Event()
        self._ready_since: float | None = None  # in this life
        self._task: asyncio.Task[None] | None = None

    @property
    def ready(self) -> bool:
        return self.state.state == "ready"

    @property
    def hopeless(self) -> bool:
        return self.state.state in ("failed", "absent")

    def heed(self) -> None:
        """Begin; or, when begun, take the wish as it is now, without waiting for the next try."""
        self._wake.set()
        if self._task is None:
            self._task = asyncio.create_task(self._keep(), name=self.name)

    async def end(self) -> None:
        """Stop for good. Returns when no process is left."""
        while self._task is not None and not self._task.done():
            self._task.cancel()  # more than once, because a library may swallow one
            await asyncio.wait({self._task}, timeout=CANCELLING_INTERVAL_S)
        await self._clear_up()
        self._become("absent", "stopped")

    async def _live(self) -> bool:
        """One life. True when it fulfilled its purpose; False when another is to follow at once."""
        raise NotImplementedError

    async def _clear_up(self) -> None:
        """End what is left of a life."""

    async def _keep(self) -> None:
        deaths = 0
        while True:
            self._wake.clear()
            self.heeded = self.stack.blueprint.wish.number
            pause_s: float | None = 0.0
            try:
                if await self._live():
                    return
            except backends.Absent as absent:
                remedy = absent.remedy[:1].upper() + absent.remedy[1:]
                self._become("absent", f"{absent.missing}. Without it: {absent.cost}. {remedy}")
                pause_s = None  # until somebody asks again
            except Exception as error:
                deaths = 1 if self._lasted() else deaths + 1
                pause_s = pause_after(deaths)
                self._mourn(error, deaths, pause_s)
            await self._clear_up()
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._wake.wait()

    def _lasted(self) -> bool:
        return self._ready_since is not None and time.monotonic() - self._ready_since > LASTING_S

    def _mourn(self, error: Exception, deaths: int, pause_s: float) -> None:
        if isinstance(error, (Died, NeverReady, StackError, OSError)):
            why = str(error).rstrip(".")
        else:  # a fault of ours in one part must not take down the others
            log.error("%s", self.name, exc_info=error)
            why = f"{type(error).__name__}: {error}"
        log.warning("%s: %s", self.name, why)
        failed = deaths >= FAILED_AFTER or isinstance(error, NeverReady)
        self._become("failed" if failed else "starting", f"{why}; next try in {pause_s:.1f} s")

    async def _await_needs(self) -> None:
        while (blocker := self.stack.blocker(self.needs)) is not None:
            why = f": {blocker.state.detail}" if isinstance(blocker, StepPart) else ""  # nobody else tells a step's
            if blocker.hopeless:
                self._become("failed", f"waits for {blocker.name}, which is {blocker.state.state}{why}")
            else:
                self._become("starting", f"waits for {blocker.name}")
            await self.stack.news()

    def _become(self, phase: ComponentPhase, detail: str = "") -> None:
        if (phase, detail) == (self.state.state, self.state.detail):
            return
        if phase != self.state.state:
            log.info("%s is %s%s", self.name, phase, f": {detail}" if detail else "")
        self.state.state, self.state.detail = phase, detail
        self.stack.tell()


class StepPart(Part):
    """A command that has to succeed once."""

    def __init__(self, step: Step, stack: Stack) -> None:
        super().__init__(step.name, stack)
        self.step = step
        self.needs = step.needs

    async def _live(self) -> bool:
        await self._await_needs()
        self._become("starting", "runs")
        layout = self.stack.layout
        launch = self.stack.blueprint.launch(self.step, Ground(layout.data, {}))
        await run_to_end(launch.command, env=launch.env, cwd=layout.root, log=layout.log(self.name))
        self._become("ready")
        return True


class ComponentPart(Part):
    """A process that has to stay."""

    def __init__(self, component: Component, stack: Stack) -> None:
        super().__init__(component.name, stack)
        self.component = component
        self.needs = component.needs
        self.state.url = stack.blueprint.url(component)
        self._child: Child | None = None
        self._predecessor: Child | None = None  # serves until the child does
        self._refusal = ""  # why the running process did not take a changed configuration

    async def _live(self) -> bool:
        await self._await_needs()
        found = await self._find()
        self._become("starting")
        ground = await self._prepare(found)
        launch = self.stack.blueprint.launch(self.component, ground)
        self._refusal, self._ready_since = "", None
        self._child = await start_child(
            launch.command,
            env=launch.env,
            cwd=ground.data if found else self.stack.layout.root,
            log=self._log,
            user=ground.user,
            death_signal=signal.Signals[self.component.death_signal],
        )
        self._tell_process()
        if self._predecessor is not None:
            await self._relieve(self._child)
        await self._watch(self._child, launch, ground)
        if self.component.overlaps:
            self._predecessor, self._child = self._child, None
        return False

    async def _relieve(self, child: Child) -> None:
        """Let the predecessor go once the child listens; until then it serves. Raises Died, NeverReady."""
        deadline = time.monotonic() + self.component.start_timeout_s
        ports = {self.stack.blueprint.ports[name] for name in self.component.ports}
        while not all([await asyncio.to_thread(listens, child.identity.pid, port) for port in ports]):
            if time.monotonic() > deadline:
                raise NeverReady(f"does not listen after {self.component.start_timeout_s:.0f} s")
            await first_of(child.wait(), timeout_s=STARTING_INTERVAL_S)
            if (code := child.process.returncode) is not None:
                raise Died(obituary(code, self._log))
        await self._let_go()

    async def end(self) -> None:
        await super().end()
        await self._let_go()

    async def _let_go(self) -> None:
        if self._predecessor is not None:
            await self._stop(self._predecessor)
            self._predecessor = None

    async def _clear_up(self) -> None:
        if self._child is not None:
            await self._stop(self._child)
            self._child = None
            self._tell_process()

    async def _stop(self, child: Child) -> None:
        await child.stop(signal.Signals[self.component.stop_signal], self.component.stop_grace_s)

    @property
    def _log(self) -> Path:
        return self.stack.layout.log(self.name)

    def _tell_process(self) -> None:
        self.state.pid = self._child.identity.pid if self._child else None
        self.state.created = self._child.identity.created if self._child else None
        self.stack.tell()

    async def _find(self) -> backends.Found | None:
        """Where the program is, downloaded or built if need be; None when it is our own. Raises backends.Absent."""
        name = self.component.backend
        if name is None:
            self.state.version, self.state.source = own_version(self.stack.layout), "checkout"
            return None
        found = await asyncio.to_thread(backends.probe, name)
        if found is None:
            found = await self._obtain(name)
        self.state.version, self.state.source = found.version, found.source
        return found

    async def _obtain(self, name: str) -> backends.Found:
        loop, cancel = asyncio.get_running_loop(), threading.Event()

        def progress(step: backends.Progress) -> None:
            loop.call_soon_threadsafe(self._become, "building", progress_in_words(step))

        try:
            return await asyncio.to_thread(backends.resolve, name, progress=progress, cancel=cancel)
        finally:
            cancel.set()

    async def _prepare(self, found: backends.Found | None) -> Ground:
        """The data folder and the user of the process, made or mended where they are not as they should be."""
        layout = self.stack.layout
        free = shutil.disk_usage(layout.state).free
        if free < LEAST_FREE_BYTES:
            raise StackError(f"the disk is full ({free // 2**20} MB left at {layout.state})", "Free some space")
        executables = found.executables if found else {}
        if self.component.prepare is None:
            data = layout.data / self.name
            data.mkdir(mode=0o700, exist_ok=True)
            return Ground(data, executables)
        blueprint = self.stack.blueprint
        workshop = postgres.Workshop(layout, executables, blueprint.credentials, blueprint.ports, self._log)
        return await postgres.PREPARATIONS[self.component.prepare](workshop)

    async def _watch(self, child: Child, launch: Launch, ground: Ground) -> None:
        """Tell how the process is until it ends (raises Died, NeverReady) or has to be started anew (returns)."""
        deadline = time.monotonic() + self.component.start_timeout_s
        misses = 0
        while True:
            trouble = await self._look()
            misses = misses + 1 if trouble else 0
            if not trouble:
                self._ready_since = self._ready_since or time.monotonic()
                self._become("ready", ground.note)
            elif self._ready_since is None:
                self._become("starting", trouble)
            elif misses > 1:  # it was ready: one missed look may be a hiccup
                self._become("failed", trouble)
            if self._ready_since is None and time.monotonic() > deadline:
                raise NeverReady(f"not ready after {self.component.start_timeout_s:.0f} s: {trouble}")
            pause_s = WATCHING_INTERVAL_S if self.ready and not misses else STARTING_INTERVAL_S
            await first_of(child.wait(), self._wake.wait(), timeout_s=pause_s)
            if (code := child.process.returncode) is not None:
                raise Died(obituary(code, self._log))
            if self._wake.is_set():
                changed = await self._take_wish(launch, ground)
                if changed is None:
                    return
                launch = changed

    async def _look(self) -> str | None:
        blueprint = self.stack.blueprint
        return self._refusal or await probes.look(self.component.probe, blueprint.ports, blueprint.credentials)

    async def _take_wish(self, launch: Launch, ground: Ground) -> Launch | None:
        """Make the running process take what changed, if it can do so running; None when it has to be started anew."""
        self._wake.clear()
        blueprint, reload = self.stack.blueprint, self.component.reload
        wanted = blueprint.launch(self.component, ground)
        if wanted.restarts != launch.restarts:
            self._become("starting", "starts again, as asked")
            return None
        if wanted != launch or self._refusal:
            in_place = reload is not None and (
                reload.command or (wanted.command, wanted.env) == (launch.command, launch.env)
            )
            if reload is None or not in_place:
                self._become("starting", "starts again with the changed configuration")
                return None
            self._refusal = await self._reload(blueprint, ground, wanted)
        self.heeded = blueprint.wish.number
        self.stack.tell()
        return wanted

    async def _reload(self, blueprint: Blueprint, ground: Ground, wanted: Launch) -> str:
        """Why the process refused; empty when it took the configuration."""
        reload = self.component.reload
        assert reload is not None
        if reload.path:
            return await probes.post(blueprint.ports[reload.port], reload.path) or ""
        command = blueprint.reload_command(self.component, ground)
        try:
            await run_to_end(command, env=wanted.env, cwd=ground.data, log=self._log)
        except StackError as error:
            return str(error)
        return ""


def pause_after(deaths: int) -> float:
    """Seconds until the next try: doubled with every death, with a jitter so that parts do not die in step."""
    return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(deaths - 1, 16)) * random.uniform(0.8, 1.2)


def progress_in_words(step: backends.Progress) -> str:
    """How far a download or build has come, on one line."""
    if step.stage == "wait":
        return step.message
    share = f" {step.done * 100 // step.total} %" if step.total else ""
    return f"{step.message or step.stage}{share}, {step.elapsed_s:.0f} s"


async def first_of(*awaitables: Coroutine[Any, Any, Any], timeout_s: float | None = None) -> None:
    """Return when the first of them is done or the time is over; the others are cancelled."""
    tasks = [asyncio.ensure_future(awaitable) for awaitable in awaitables]
    try:
        await asyncio.wait(tasks, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
