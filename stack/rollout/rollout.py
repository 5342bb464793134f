"""A new version of the API, first on one replica: canary → judge → promote to all, or roll back.

Owns the order and what happens when something goes wrong on the way: whatever ends a rollout before every replica has
the new version, an error or Ctrl-C too, brings all of them back to the old one. The judgement is `slo.canary`'s, the
right to begin `slo.gate`'s. Prints nothing; what happens is told as it happens and written into a log of its own, which
the collector sends to Loki. Deploys show on the dashboards by themselves, because processes say which version they are.
"""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from slo.budget import BudgetPolicy
from slo.canary import Caution, Judgement, observe
from slo.gate import Gate, observe_readings, open_gate
from slo.model import Promise
from slo.prometheus import NoPrometheus, Prometheus
from stack.components import API, components
from stack.errors import StackError, WrongUse
from stack.layout import Layout
from stack.native import control
from stack.native.launch import own_version, read_wish
from stack.state import StackState

VERSION = "SIGNALBOX_VERSION"
WARM_UP_S = 5.0  # the first requests of a new process fill its pools; they are no measure of a version
BLIND_S = 30.0  # so long may Prometheus be away before a canary that nobody sees is taken back

Stage = Literal["gate", "canary", "look", "promote", "promoted", "rolled back"]


@dataclass(frozen=True)
class Plan:
    """What is rolled out, and how careful to be. The canary is watched for `watch_s`, and for `patience_s` at most when
    that does not suffice to tell."""

    version: str
    environment: Mapping[str, str] = field(default_factory=dict)  # on top of each replica's own
    watch_s: float = 60.0
    patience_s: float = 180.0
    look_s: float = 5.0
    doubt: float = 0.05

    @property
    def caution(self) -> Caution:
        return Caution(self.doubt, looks=max(1, math.ceil(self.patience_s / self.look_s)))


@dataclass(frozen=True)
class News:
    """Something happened. `seconds`: how long the canary has been watched."""

    stage: Stage
    what: str
    seconds: float = 0.0
    judgement: Judgement | None = None


@dataclass(frozen=True)
class Result:
    """How it ended, and why in one sentence."""

    promoted: bool
    version: str  # that runs now
    reason: str
    judgement: Judgement | None
    took_s: float


class Rollout:
    """One rollout on one running stack."""

    def __init__(
        self,
        layout: Layout,
        state: StackState,
        plan: Plan,
        promises: tuple[Promise, ...],
        tell: Callable[[News], None],
    ) -> None:
        self._layout, self._plan, self._tell_outside = layout, plan, tell
        self._prometheus = state.urls.get("prometheus") or ""
        self._promises = tuple(promise.at_clock(state.clock) for promise in promises)
        self.replicas = tuple(part.name for part in components(state.replicas) if part.job == API)
        self._before = {name: dict(read_wish(layout).overrides.get(name, {})) for name in self.replicas}
        versions = {before.get(VERSION, own_version(layout)) for before in self._before.values()}
        self.stable = min(versions)
        self._refuse_senseless(state, versions)

    def ask_gate(self, policies: Iterable[BudgetPolicy], exemption: str = "", why: str = "") -> Gate:
        """Whether the budgets allow a change at all. `why` an exemption is used is written down."""
        try:
            with Prometheus(self._prometheus) as server:
                gate = open_gate(policies, observe_readings(server, self._promises), exemption)
        except NoPrometheus as error:
            raise StackError(str(error)) from None
        self._tell(News("gate", f"{gate.decision}: {gate.reason}{f' ({why})' if gate.exemption else ''}"))
        return gate

    def run(self) -> Result:
        """Carry it out. Returns promoted or rolled back; raises KeyboardInterrupt and StackError after rolling back."""
        began = time.monotonic()
        try:
            with _ended_like_ctrl_c():
                judgement, reason = self._try_canary()
                promoted = judgement is not None and judgement.outcome == "promote"
                if promoted:
                    self._promote()
        except BaseException as error:
            self._roll_back(str(error) or "interrupted")
            raise
        if promoted:
            self._tell(News("promoted", f"{self._plan.version} runs on all replicas"))
        else:
            self._roll_back(reason)
        version = self._plan.version if promoted else self.stable
        return Result(promoted, version, reason, judgement, time.monotonic() - began)

    def _try_canary(self) -> tuple[Judgement | None, str]:
        """What was seen of the canary, and why that decides."""
        canary = self.replicas[-1]
        self._tell(News("canary", f"{canary} becomes {self._plan.version}; {self.stable} stays on the others"))
        if trouble := self._deploy(canary):
            return None, f"{canary} did not become ready: {trouble}"
        time.sleep(WARM_UP_S)
        began = seen = time.monotonic()
        judgement: Judgement | None = None
        while (gone := time.monotonic() - began) < self._plan.patience_s:
            time.sleep(self._plan.look_s)
            gone = time.monotonic() - began
            if trouble := self._trouble(canary):
                return judgement, f"{canary} is not ready: {trouble}"
            try:
                judgement, seen = self._look(gone), time.monotonic()
            except NoPrometheus as error:
                if time.monotonic() - seen > BLIND_S:
                    return judgement, f"nobody can see how the canary does: {error}"
                continue
            self._tell(News("look", judgement.reason, gone, judgement))
            if judgement.outcome == "roll back":
                return judgement, judgement.reason
            if judgement.outcome == "promote" and gone >= self._plan.watch_s:
                return judgement, judgement.reason
        why = judgement.reason if judgement else "nothing was seen"
        return judgement, f"after {self._plan.patience_s:g} s nobody can tell: {why}"

    def _look(self, seconds: float) -> Judgement:
        with Prometheus(self._prometheus) as server:
            plan = self._plan
            return observe(server, self._promises, plan.version, self.stable, seconds, plan.caution)

    def _promote(self) -> None:
        for name in self.replicas[:-1]:
            self._tell(News("promote", f"{name} becomes {self._plan.version}"))
            if trouble := self._deploy(name):
                raise StackError(f"{name} did not become ready: {trouble}", "The old version runs again")

    def _roll_back(self, reason: str) -> None:
        """The old version everywhere. Finishes whatever signal arrives meanwhile."""
        handlers = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            for name in self.replicas:
                if read_wish(self._layout).overrides.get(name, {}) != self._before[name]:
                    self._override(name, self._before[name])
            self._tell(News("rolled back", reason))
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def _deploy(self, name: str) -> str:
        """Give a replica the new version. Why it did not become ready; empty when it did."""
        return self._override(name, {**self._before[name], **self._plan.environment, VERSION: self._plan.version})

    def _override(self, name: str, environment: Mapping[str, str]) -> str:
        control.override(self._layout, name, dict(environment) or None)
        control.follow(self._layout, read_wish(self._layout), lambda state: None)
        return self._trouble(name)

    def _trouble(self, name: str) -> str:
        state = control.current_state(self._layout)
        part = state.named(name) if state else None
        if part is None:
            return "the stack was stopped"
        return "" if part.state == "ready" else part.detail or part.state

    def _refuse_senseless(self, state: StackState, versions: set[str]) -> None:
        if not state.ready:
            raise StackError("the stack is not ready", "See `signalbox status`")
        if len(self.replicas) < 2:
            raise WrongUse("one replica leaves nothing to compare a canary with", "Run `signalbox up --replicas 2`")
        if len(versions) > 1:
            raise WrongUse(f"{' and '.join(sorted(versions))} run already", "Finish that, or run `signalbox restart`")
        if self._plan.version == self.stable:
            raise WrongUse(f"{self.stable} runs already", "Name another version")

    def _tell(self, news: News) -> None:
        self._tell_outside(news)
        if news.stage != "look":
            write_line(self._layout.log("rollout"), news, self._plan.version)


def write_line(log: Path, news: News, version: str) -> None:
    """One line in the form of the services' own, so that it stands in Loki beside theirs (`service_name="rollout"`)."""
    line = {
        "timestamp": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        "severity": "WARN" if news.stage == "rolled back" else "INFO",
        "message": f"rollout.{news.stage.replace(' ', '_')}",
        "service.name": "rollout",
        "service.namespace": "signalbox",
        "deployment.environment.name": "development",
        "rollout.version": version,
        "rollout.reason": news.what,
    }
    with log.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line, separators=(",", ":")) + "\n")


@contextmanager
def _ended_like_ctrl_c() -> Iterator[None]:
    """SIGTERM ends what is inside as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
