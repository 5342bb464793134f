"""A new version: canary → judge → promote to all, or roll back.

Owns the order and what happens when something goes wrong on the way: whatever ends a rollout before the new version is
everywhere, an error or Ctrl-C too, brings the old one back. The judgement is `slo.canary`'s, the right to begin
`slo.gate`'s; how processes come and go is the ground's business (`machine`, `cluster`). Prints nothing: what happens is
told as it happens.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, Protocol

from slo.budget import BudgetPolicy
from slo.canary import Caution, Judgement, observe
from slo.gate import Gate, observe_readings, open_gate
from slo.model import Promise
from slo.prometheus import NoPrometheus, Prometheus
from stack.errors import StackError

WARM_UP_S = 5.0  # the first requests of a new process fill its pools; they are no measure of a version
BLIND_S = 30.0  # so long may Prometheus be away before a canary that nobody sees is taken back

Stage = Literal["gate", "canary", "look", "promote", "promoted", "rolled back"]


@dataclass(frozen=True)
class Plan:
    """What is rolled out, and how careful to be. The canary is watched for `watch_s`, and for `patience_s` at most when
    that does not suffice to tell."""

    version: str
    environment: Mapping[str, str] = field(default_factory=dict)  # on top of each process's own
    watch_s: float = 60.0
    patience_s: float = 180.0
    look_s: float = 5.0
    doubt: float = 0.05

    @property
    def caution(self) -> Caution:
        """Every look gets its share of the doubt."""
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


class Ground(Protocol):
    """Where a version runs. What can fail says why it did not become ready; empty when it did."""

    @property
    def stable(self) -> str:
        """The version that runs."""

    @property
    def canary(self) -> str:
        """Name of what gets the new version first."""

    def start_canary(self) -> str:
        """Give it the new version, and wait until it is ready."""

    def trouble(self) -> str:
        """Why the canary is not ready now."""

    def promote(self, tell: Callable[[str], None]) -> str:
        """The new version everywhere, a part at a time."""

    def roll_back(self) -> None:
        """The old version everywhere, whatever was changed so far. Safe to call twice."""


@dataclass(frozen=True)
class Rollout:
    """One rollout. `promises` are those of the clock that Prometheus runs at."""

    ground: Ground
    plan: Plan
    promises: tuple[Promise, ...]
    prometheus: str
    tell: Callable[[News], None]

    def ask_gate(self, policies: Iterable[BudgetPolicy], exemption: str = "", why: str = "") -> Gate:
        """Whether the budgets allow a change at all. `why` an exemption is used is told."""
        try:
            with Prometheus(self.prometheus) as server:
                gate = open_gate(policies, observe_readings(server, self.promises), exemption)
        except NoPrometheus as error:
            raise StackError(str(error)) from None
        self.tell(News("gate", f"{gate.decision}: {gate.reason}{f' ({why})' if gate.exemption else ''}"))
        return gate

    def run(self) -> Result:
        """Carry it out. Returns promoted or rolled back; raises KeyboardInterrupt and StackError after rolling back."""
        began = time.monotonic()
        try:
            with _ended_like_ctrl_c():
                judgement, reason = self._try_canary()
                promoted = judgement is not None and judgement.outcome == "promote"
                if promoted and (trouble := self.ground.promote(lambda what: self.tell(News("promote", what)))):
                    promoted, reason = False, f"the new version did not become ready everywhere: {trouble}"
        except BaseException as error:
            self._roll_back(str(error) or "interrupted")
            raise
        if promoted:
            self.tell(News("promoted", reason))
        else:
            self._roll_back(reason)
        version = self.plan.version if promoted else self.ground.stable
        return Result(promoted, version, reason, judgement, time.monotonic() - began)

    def _try_canary(self) -> tuple[Judgement | None, str]:
        """What was seen of the canary, and why that decides. Only `promote` promotes."""
        ground, plan = self.ground, self.plan
        self.tell(News("canary", f"{ground.canary} becomes {plan.version} beside {ground.stable}"))
        if trouble := ground.start_canary():
            return None, f"{ground.canary} did not become ready: {trouble}"
        time.sleep(WARM_UP_S)
        began = seen = time.monotonic()
        why = "nothing was seen"
        while (gone := time.monotonic() - began) < plan.patience_s:
            time.sleep(plan.look_s)
            gone = time.monotonic() - began
            if trouble := ground.trouble():
                return None, f"{ground.canary} is not ready: {trouble}"
            try:
                judgement, seen = self._look(gone), time.monotonic()
            except NoPrometheus as error:
                if time.monotonic() - seen > BLIND_S:
                    return None, f"nobody can see how the canary does: {error}"
                continue
            why = judgement.reason
            self.tell(News("look", why, gone, judgement))
            if judgement.outcome == "roll back" or (judgement.outcome == "promote" and gone >= plan.watch_s):
                return judgement, why
        return None, f"after {plan.patience_s:g} s nobody can tell: {why}"

    def _look(self, seconds: float) -> Judgement:
        with Prometheus(self.prometheus) as server:
            stable = self.ground.stable
            return observe(server, self.promises, self.plan.version, stable, seconds, self.plan.caution)

    def _roll_back(self, reason: str) -> None:
        """Finishes whatever signal arrives meanwhile."""
        handlers = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            self.ground.roll_back()
            self.tell(News("rolled back", reason))
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)


@contextmanager
def _ended_like_ctrl_c() -> Iterator[None]:
    """SIGTERM ends what is inside as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
