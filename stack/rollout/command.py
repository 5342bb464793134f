"""`signalbox rollout`: words of the command line → a plan, a gate, a rollout, a document.

Owns the checks of what a person typed, the words in which a rollout is told, and the log that keeps them. The collector
sends the log to Loki; deploys show on the dashboards by themselves, because processes say which version they are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from slo.commands.canary import document as judgement_document
from slo.errors import DefinitionErrors
from slo.model import Promise
from slo.parse.tree import Definitions, parse_definitions
from stack import form
from stack.errors import StackError, WrongUse
from stack.layout import Layout
from stack.rollout.cluster import Cluster
from stack.rollout.machine import VERSION, Machine
from stack.rollout.rollout import Ground, News, Plan, Rollout
from stack.state import StackState

_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+-]{0,39}")
_SETTING = re.compile(r"(SIGNALBOX_[A-Z0-9_]+)=(.*)", re.DOTALL)


@dataclass(frozen=True)
class Request:
    """What was asked for, as it was typed. With `image` a Kubernetes cluster is meant, and `prometheus` is its own."""

    version: str
    settings: tuple[str, ...] = ()
    watch_s: float = 60
    patience_s: float = 180
    doubt: float = 0.05
    exception: str = ""
    reason: str = ""
    slos: tuple[str, ...] = ()  # which decide; all when empty
    image: str = ""
    namespace: str = "signalbox"
    prometheus: str = ""

    def plan(self) -> Plan:
        """The plan that it means. Raises WrongUse."""
        if not _VERSION.fullmatch(self.version):
            raise WrongUse(f"{self.version!r} is no version", "Write letters, digits, and . + -, for example 1.4.0")
        if not 0 < self.doubt < 0.5:
            raise WrongUse(f"--doubt is {self.doubt:g}", "Give a number between 0 and 0.5, for example 0.05")
        if not 0 < self.watch_s <= self.patience_s:
            both = f"--watch is {self.watch_s:g} and --patience {self.patience_s:g}"
            raise WrongUse(both, "Be at least as patient as you watch")
        if self.exception and not self.reason.strip():
            raise WrongUse("--exception needs --reason", "Say why, for those who read the log")
        if bool(self.image) != bool(self.prometheus):
            raise WrongUse(
                "--image and --prometheus belong together", "Give both for a cluster, neither for this stack"
            )
        environment = {}
        for word in self.settings:
            found = _SETTING.fullmatch(word)
            if not found or found[1] == VERSION:
                raise WrongUse(f"--set {word!r} is no setting", "Write for example --set SIGNALBOX_POOL_SIZE=20")
            environment[found[1]] = found[2]
        return Plan(self.version, environment, self.watch_s, self.patience_s, doubt=self.doubt)


def carry_out(
    layout: Layout, state: Callable[[], StackState], request: Request, say: Callable[[str], None]
) -> dict[str, Any]:
    """Ask the gate, roll out, and tell how it went: the document of `--json`. Raises StackError.

    `state` is asked for the running stack, when that is where the version goes.
    """
    plan, found = request.plan(), _definitions(layout)
    known = {exemption.name for policy in found.budgets for exemption in policy.exemptions}
    if request.exception and request.exception not in known:
        raise WrongUse(f"there is no exception {request.exception!r}", f"There are {', '.join(sorted(known))}")
    ground, url, clock = _ground(layout, state, request, plan)
    if isinstance(ground, Cluster) and ground.stable == plan.version:  # a job that failed later is run again
        if trouble := ground.settle():
            raise StackError(f"{plan.version} was promoted and is not ready everywhere: {trouble}")
        return _document("promoted", plan.version, "it runs already", plan)

    def tell(news: News) -> None:
        say(in_words(news, plan))
        if news.stage != "look" and layout.logs.is_dir():
            form.find(layout).add_line(layout, "rollout", emit_line(news, plan.version))

    chosen = _chosen(found.promises, request.slos)
    rollout = Rollout(ground, plan, tuple(promise.at_clock(clock) for promise in chosen), url, tell)
    gate = rollout.ask_gate(found.budgets, request.exception, request.reason.strip())
    if gate.decision != "go":
        why = f"the budgets say {gate.decision}: {gate.reason}. See `signalbox slo gate`"
        return _document("not begun", ground.stable, why, plan)
    result = rollout.run()
    outcome = "promoted" if result.promoted else "rolled back"
    document = _document(outcome, result.version, result.reason, plan, round(result.took_s, 1))
    if result.judgement:
        document["canary"] = judgement_document(result.judgement)
    return document


def in_words(news: News, plan: Plan) -> str:
    """What happened, on one line."""
    if news.stage == "look":
        outcome = news.judgement.outcome if news.judgement else "unknown"
        return f"  {news.seconds:3.0f} of {plan.watch_s:g} s  {outcome}: {news.what}"
    return f"{news.stage}: {news.what}"


def emit_line(news: News, version: str) -> str:
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
    return json.dumps(line, separators=(",", ":")) + "\n"


def _chosen(promises: tuple[Promise, ...], names: tuple[str, ...]) -> tuple[Promise, ...]:
    known = {promise.name for promise in promises}
    if unknown := sorted(set(names) - known):
        raise WrongUse(f"there is no SLO {unknown[0]!r}", f"There are {', '.join(sorted(known))}")
    return tuple(promise for promise in promises if not names or promise.name in names)


def _ground(layout: Layout, state: Callable[[], StackState], request: Request, plan: Plan) -> tuple[Ground, str, float]:
    """Where the version goes, the Prometheus that sees it there, and that one's clock."""
    if request.image:
        cluster = Cluster(request.namespace, request.image, plan.version, plan.environment)
        return cluster, request.prometheus, 1.0
    running = state()
    machine = Machine(form.find(layout), layout, running, plan.version, plan.environment)
    return machine, running.urls.get("prometheus") or "", running.clock


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
