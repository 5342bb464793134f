"""One run of an incident: gate, load, faults, watching, mitigation, recovery, and always the way back.

Owns the order of things and the promise that faults are cleared and load is stopped however a run ends. Refuses to
judge and to draw: it returns a record.
"""

from __future__ import annotations

import asyncio
import signal as signals
import time
from collections.abc import Sequence
from contextlib import suppress

from incidents import baseline, drive
from incidents.endpoints import EndpointError
from incidents.faults import FaultError, Switch, build_switches
from incidents.load import Load
from incidents.observe import BackendError, Backends, poll
from incidents.progress import Progress
from incidents.scenario import Scenario
from incidents.trace import services
from incidents.triage.score import STEADY_S, observe_triage
from incidents.triage.windows import LEAST_S
from incidents.verdict import Outcome, Phase, Record, Sighting

PAGE_POLL_S = 0.25
EXEMPLAR_PATIENCE_S = 30.0
"""The pager looks for the exemplar after a page has arrived, and its trace waits for the collector's keep decision."""
RESTORE_S = 30.0
TRIAGE_S = 30.0
TRIAGE_AFTER_S = LEAST_S  # what shows is seen and paged sooner than a window is filled; nobody is there so soon
KEEP_S = 3_600.0
"""`--keep` holds an incident open until Ctrl-C, but no longer than this."""


class Interrupted(Exception):
    """The run was ended from outside. The text says what could not be undone; empty: faults cleared, load stopped."""


class Run:
    """A scenario (its times already at `clock`) against a running system. `execute` once."""

    def __init__(
        self,
        scenario: Scenario,
        *,
        twin: bool,
        seed: int,
        backends: Backends,
        progress: Progress,
        keep: bool = False,
    ) -> None:
        self.scenario = scenario
        self.record = Record(scenario, twin, seed, backends.clock, started_at=time.time())
        self._backends = backends
        self._progress = progress
        self._keep = keep and not twin
        self._current: Phase = "baseline"
        self._switches: list[Switch] = []
        self._schedule: list[asyncio.Task[None]] = []
        self._released = asyncio.Event()
        self._load_since = 0.0
        self._holding = self._restoring = self._interrupted = False
        steps = tuple(drive.Step(step.rate_per_s, step.for_s) for step in scenario.load.steps)
        longest_s = scenario.longest_s + baseline.REACH_S + (KEEP_S if keep else 0.0)
        gateway, issuer = backends.endpoints.url("gateway"), backends.endpoints.urls.get("issuer", "")
        mix = {str(kind): weight for kind, weight in scenario.load.mix.items()}
        self._load = Load(drive.Job(gateway, mix, steps, seed, longest_s, issuer))

    async def execute(self) -> Record:
        """Run to the end and return what was observed. Raises Interrupted after Ctrl-C or SIGTERM."""
        task = asyncio.current_task()
        assert task is not None
        loop = asyncio.get_running_loop()
        for number in (signals.SIGINT, signals.SIGTERM):
            loop.add_signal_handler(number, self._interrupt, task)
        try:
            await self._phases()
        except (baseline.Unfit, FaultError, BackendError, EndpointError) as trouble:
            self._trouble(str(trouble))
        except asyncio.CancelledError:
            self._interrupted = True
        finally:
            await self._restore()
            for number in (signals.SIGINT, signals.SIGTERM):
                loop.remove_signal_handler(number)
        if self._interrupted:
            raise Interrupted("; ".join(self.record.troubles))
        self.record.ended_at = time.time()
        return self.record

    async def _phases(self) -> None:
        self._phase("baseline", f"{self.scenario.title} at clock {self._backends.clock:g}, seed {self.record.seed}")
        self._switches = build_switches(
            self.scenario.faults, self._backends.endpoints, self._backends.client, self.record.seed
        )
        await baseline.reach(self._backends, self._switches)
        await self._load.start()
        self._load_since = time.time()
        ticker = asyncio.create_task(self._tick())
        try:
            self._progress.now("letting the load become steady, so that triage has something to compare with")
            await asyncio.sleep(max(0.0, STEADY_S - self.scenario.baseline.hold_s))
            await baseline.hold(self.scenario, self.record.baseline, self._backends, self._progress)
            for one in self.record.baseline:
                self._progress.say(f"{one.check.name}: {one.reading} {one.check.wanted}", ok=True)
            await self._break()
            await self._watch()
            await self._hold()
            await self._mitigate()
            await self._return()
        finally:
            ticker.cancel()

    # The incident.

    async def _break(self) -> None:
        self.record.onset_at = time.time()
        if self.record.twin:
            self._phase("onset", "nothing is broken: this is the twin")
            return
        self._phase("onset", "; ".join(str(fault) for fault in self.scenario.faults))
        for switch in self._switches:
            if switch.fault.onset_s == 0:
                await switch.set()
        self._schedule = [asyncio.create_task(self._keep_time(switch)) for switch in self._switches]

    async def _keep_time(self, switch: Switch) -> None:
        """Set a fault at its onset unless it is set already, and clear it after its duration."""
        try:
            if switch.fault.onset_s > 0:
                await asyncio.sleep(switch.fault.onset_s - self._since_onset())
                await switch.set()
                self._note(f"{switch.fault}")
            await asyncio.sleep(switch.fault.onset_s + switch.fault.duration_s - self._since_onset())
            await switch.clear()
            self._note(f"{switch.fault.name} ended by itself after {switch.fault.duration_s:g} s")
        except FaultError as error:
            self._trouble(str(error))

    async def _watch(self) -> None:
        """Wait for every signal and for the page, each until its own deadline; a twin waits for all of them to pass."""
        self._phase("watch", "nothing may show" if self.record.twin else "waiting for the signals and the page")
        await asyncio.gather(self._watch_pages(), *(self._watch_signal(one) for one in self.record.sightings))
        await self._ask_triage()

    async def _watch_signal(self, sighting: Sighting) -> None:
        check = sighting.signal
        start = self.record.onset_at or 0.0

        async def look() -> bool:
            sighting.reading = await self._backends.measure(check, start)
            return check.wanted.holds(sighting.reading.value)

        deadline_s = self.scenario.watch_s if self.record.twin else check.deadline_s
        seen, _ = await poll(look, bool, deadline_s=deadline_s - self._since_onset())
        if seen:
            sighting.after_s = round(self._since_onset(), 3)
        if seen or not self.record.twin:
            observed = f"{check.name}: {sighting.reading} (wanted {check.wanted})"
            self._note(observed, ok=seen is not self.record.twin)

    async def _watch_pages(self) -> None:
        alert, onset_at = self.scenario.alert, self.record.onset_at or 0.0

        async def look() -> bool:
            with suppress(BackendError):  # the last look, when the run is over, must succeed
                self.record.pages = await self._backends.pages(onset_at)
            if self.record.twin:
                return any(page["tier"] == "page" for page in self.record.pages)
            return self.record.page is not None

        deadline_s = self.scenario.watch_s if self.record.twin else alert.deadline_s
        paged, _ = await poll(look, bool, deadline_s=deadline_s - self._since_onset(), every_s=PAGE_POLL_S)
        self.record.page_as_sent = self.record.page
        if paged and not self.record.twin:
            fired_after_s = self.record.fired_after_s or 0.0
            what = f"{alert.name} reached the pager after {fired_after_s:.1f} s"
            self._note(what, ok=True, at=onset_at + fired_after_s)
            await self._follow_exemplar()
        elif paged:
            self._note(f"{self.record.pages[-1]['alert']} reached the pager", ok=False)
        elif not self.record.twin:
            self._note(f"no page within {alert.deadline_s:g} s", ok=False)

    async def _follow_exemplar(self) -> None:
        """From the page to its trace, once both are where they belong."""
        wanted = set(self.scenario.alert.exemplar_crosses)
        if not wanted:
            return

        async def look() -> bool:
            with suppress(BackendError):
                self.record.pages = await self._backends.pages(self.record.onset_at or 0.0)
                page = self.record.page
                if page is not None and page.get("trace_id"):
                    self.record.trace = await self._backends.trace(page["trace_id"])
            return wanted <= set(services(self.record.trace))

        found, _ = await poll(look, bool, deadline_s=EXEMPLAR_PATIENCE_S)
        crossed = ", ".join(services(self.record.trace)) or "nothing found"
        self._note(f"the page's exemplar trace: {crossed}", ok=found)

    async def _ask_triage(self) -> None:
        """What triage makes of it, once its window is filled. It goes into the report and decides nothing."""
        await asyncio.sleep(max(0.0, min(TRIAGE_AFTER_S, self.scenario.watch_s) - self._since_onset()))
        truth = None if self.record.twin else self.scenario.cause
        try:
            async with asyncio.timeout(TRIAGE_S):
                found = await observe_triage(
                    self._backends, truth, onset_at=self.record.onset_at or 0.0, load_since=self._load_since
                )
        except (TimeoutError, EndpointError) as error:
            self._note(f"triage gave no answer ({error or 'in time'})")
            return
        self.record.triage = found
        self._note(f"triage says: {', '.join(found['said'][:3]) or 'nothing unusual'}", ok=found["in_three"])

    async def _hold(self) -> None:
        """With `--keep`: leave everything as it is until Ctrl-C."""
        if not self._keep:
            return
        self._holding = True
        self._phase("keep", "the incident stays open; Ctrl-C mitigates it and ends the run")
        with suppress(TimeoutError):
            async with asyncio.timeout(KEEP_S):
                await self._released.wait()
        self._holding = False

    # The way back.

    async def _mitigate(self) -> None:
        if self.record.twin:
            return
        self._phase("mitigation", self.scenario.mitigation.story)
        await self._clear_faults()
        self.record.mitigated_at = time.time()
        await asyncio.gather(self._recover(), self._resolve())

    async def _recover(self) -> None:
        deadline_s = self.scenario.mitigation.deadline_s
        recovered = await self._become_true(self.record.mitigation, deadline_s)
        if recovered:
            self.record.recovered_at = time.time()
        self._tell(self.record.mitigation)

    async def _resolve(self) -> None:
        """Wait until the pager sees the alert end."""
        if self.record.page is None:
            return

        async def look() -> bool:
            with suppress(BackendError):
                self.record.pages = await self._backends.pages(self.record.onset_at or 0.0)
            return self.record.resolved_at is not None

        alert = self.scenario.alert
        resolved, _ = await poll(look, bool, deadline_s=alert.resolves_within_s)
        what = "resolved at the pager" if resolved else f"still firing after {alert.resolves_within_s:g} s"
        self._note(f"{alert.name} {what}", ok=resolved)

    async def _return(self) -> None:
        """Stop the load, look at the pager a last time, and check how the system is left."""
        self._phase("recovery", "stopping the load and checking how the system is left")
        self.record.load = await self._load.stop()
        self.record.pages = await self._backends.pages(self.record.onset_at or 0.0)
        await self._become_true(self.record.rollback, self.scenario.rollback.deadline_s)
        self._tell(self.record.rollback)

    async def _clear_faults(self) -> None:
        """Clear every fault, the others too when one resists. Raises FaultError for those that did."""
        for task in self._schedule:
            task.cancel()
        await asyncio.gather(*self._schedule, return_exceptions=True)
        results = await asyncio.gather(*(switch.clear() for switch in self._switches), return_exceptions=True)
        if refusals := [str(result) for result in results if isinstance(result, Exception)]:
            raise FaultError("; ".join(refusals))

    async def _restore(self) -> None:
        """Whatever happened: nothing stays broken and no load goes on. Bounded in time; problems are told."""
        self._restoring = True
        try:
            async with asyncio.timeout(RESTORE_S):
                if self.record.onset_at is not None and not self.record.twin:
                    await self._clear_faults()
        except (FaultError, TimeoutError) as error:
            self._trouble(f"a fault could not be cleared ({error or 'no answer in time'}). Clear it by hand")
        finally:
            result = await self._load.stop()
            self.record.load = self.record.load or result

    def _interrupt(self, task: asyncio.Task[None]) -> None:
        """Ctrl-C or SIGTERM: the first ends the hold or the run, later ones wait for the faults to be cleared."""
        if self._holding:
            self._released.set()
        elif not (self._restoring or task.cancelling()):
            self._progress.say("interrupted: clearing faults and stopping the load")
            task.cancel()

    # Small parts.

    async def _become_true(self, outcomes: Sequence[Outcome], deadline_s: float) -> bool:
        true, _ = await poll(lambda: baseline.measure(outcomes, self._backends), bool, deadline_s=deadline_s)
        return true

    async def _tick(self) -> None:
        """Keep the changing line up to date."""
        while True:
            await asyncio.sleep(0.5)
            if self.record.onset_at is None:
                continue
            seen = sum(sighting.after_s is not None for sighting in self.record.sightings)
            paged = "paged" if self.record.page else f"no page ({self.scenario.alert.deadline_s:g} s allowed)"
            text = f"{self._since_onset():.0f} s after onset · {paged} · {seen} of {len(self.record.sightings)} signals"
            if self._load.seconds:
                last = self._load.seconds[-1]
                text += f" · clients: {last['good']} good, {last['refused'] + last['bad']} failing a second"
            self._progress.now(text)

    def _since_onset(self) -> float:
        return 0.0 if self.record.onset_at is None else time.time() - self.record.onset_at

    def _phase(self, phase: Phase, what: str) -> None:
        self._current = phase
        self._progress.phase(phase, what)
        self.record.note(time.time(), phase, what)

    def _note(self, what: str, *, ok: bool | None = None, at: float | None = None) -> None:
        self._progress.say(what, ok=ok)
        self.record.note(time.time() if at is None else at, self._current, what)

    def _tell(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            self._note(f"{outcome.check.name}: {outcome.reading} (wanted {outcome.check.wanted})", ok=outcome.ok)

    def _trouble(self, what: str) -> None:
        self.record.troubles.append(what)
        self._note(what, ok=False)
