"""`signalbox rollout`: words of the command line → a plan, a gate, a rollout, a document.

Owns the checks of what a person typed, and the words in which a rollout is told.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from slo.errors import DefinitionErrors
from slo.gate import Gate
from slo.parse.tree import Definitions, parse_definitions
from stack.errors import StackError, WrongUse
from stack.layout import Layout
from stack.rollout.rollout import VERSION, News, Plan, Rollout
from stack.state import StackState

_VERSION = re.compile(r"[0-9A-Za-z.+-]{1,40}")
_SETTING = re.compile(r"(SIGNALBOX_[A-Z0-9_]+)=(.*)", re.DOTALL)


@dataclass(frozen=True)
class Request:
    """What was asked for, as it was typed."""

    version: str
    settings: tuple[str, ...] = ()
    watch_s: float = 60
    patience_s: float = 180
    doubt: float = 0.05
    exception: str = ""
    reason: str = ""

    def plan(self) -> Plan:
        """The plan that it means. Raises WrongUse."""
        if not _VERSION.fullmatch(self.version):
            raise WrongUse(f"{self.version!r} is no version", "Write letters, digits, and . + -, for example 1.4.0")
        if not 0 < self.doubt < 0.5:
            raise WrongUse(f"--doubt is {self.doubt:g}", "Give a number between 0 and 0.5, for example 0.05")
        if not 0 < self.watch_s <= self.patience_s:
            raise WrongUse(
                f"--watch is {self.watch_s:g} and --patience {self.patience_s:g}", "Be at least as patient as you watch"
            )
        if self.exception and not self.reason.strip():
            raise WrongUse("--exception needs --reason", "Say why, for those who read the log")
        environment = {}
        for word in self.settings:
            found = _SETTING.fullmatch(word)
            if not found or found[1] == VERSION:
                raise WrongUse(f"--set {word!r} is no setting", "Write for example --set SIGNALBOX_POOL_SIZE=20")
            environment[found[1]] = found[2]
        return Plan(self.version, environment, self.watch_s, self.patience_s, doubt=self.doubt)


def carry_out(layout: Layout, state: StackState, request: Request, say: Callable[[str], None]) -> dict[str, Any]:
    """Ask the gate, roll out, and tell how it went: the document of `--json`. Raises StackError."""
    plan, found = request.plan(), _definitions(layout)
    known = {exemption.name for policy in found.budgets for exemption in policy.exemptions}
    if request.exception and request.exception not in known:
        raise WrongUse(f"there is no exception {request.exception!r}", f"There are {', '.join(sorted(known))}")
    rollout = Rollout(layout, state, plan, found.promises, lambda news: say(in_words(news, plan)))
    gate = rollout.ask_gate(found.budgets, request.exception, request.reason.strip())
    if gate.decision != "go":
        return _document("not begun", rollout.stable, _why_not(gate), plan)
    result = rollout.run()
    outcome = "promoted" if result.promoted else "rolled back"
    document = _document(outcome, result.version, result.reason, plan, round(result.took_s, 1))
    if result.judgement:
        from slo.commands.canary import document as judgement

        document["canary"] = judgement(result.judgement)
    return document


def in_words(news: News, plan: Plan) -> str:
    """What happened, on one line."""
    if news.stage == "look":
        outcome = news.judgement.outcome if news.judgement else "unknown"
        return f"  {news.seconds:4.0f} of {plan.watch_s:g} s  {outcome}: {news.what}"
    return f"{news.stage}: {news.what}"


def _why_not(gate: Gate) -> str:
    return f"the budgets say {gate.decision}: {gate.reason}. See `signalbox slo gate`"


def _document(outcome: str, version: str, reason: str, plan: Plan, took_s: float = 0.0) -> dict[str, Any]:
    return {
        "outcome": outcome,
        "promoted": outcome == "promoted",
        "reason": reason,
        "asked_for": plan.version,
        "version": version,
        "took_s": took_s,
    }


def _definitions(layout: Layout) -> Definitions:
    try:
        return parse_definitions(layout.root / "slo" / "definitions")
    except DefinitionErrors as wrong:
        raise StackError(f"{wrong.errors[0]} ({len(wrong.errors)} in all)", "See `signalbox slo lint`") from wrong
