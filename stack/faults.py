"""The faults of the running processes, switched over HTTP. Knows none by name: it asks every process that has some."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from stack.components import components
from stack.errors import StackError, WrongUse
from stack.state import StackState

TIMEOUT_S = 5.0
OUTSIDE = "faults"
"""The job of who breaks things from outside: whatever it has stopped goes on once it is told so."""

Fault = dict[str, Any]


@dataclass(frozen=True)
class Process:
    """A running component that has faults."""

    name: str
    job: str
    url: str

    def ask(self, method: str, path: str = "", body: Mapping[str, Any] | None = None) -> list[Fault]:
        """Its faults after the request. Raises StackError with the process's own words when it refuses."""
        try:
            answer = httpx.request(
                method, f"{self.url}/internal/faults{path}", json=body, timeout=TIMEOUT_S, trust_env=False
            )
            document = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise StackError(f"{self.name} does not answer: {error}", "See `signalbox status`") from error
        if answer.is_error:
            kind = WrongUse if answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY else StackError
            raise kind(f"{self.name} refuses: {document.get('detail') or document}")
        return [{"component": self.name, **fault} for fault in document["faults"]]


def faulty(state: StackState, service: str | None = None) -> list[Process]:
    """The processes that have faults: all of them, those of one service, or one replica."""
    processes = [
        Process(part.name, part.job, running.url)
        for part in components(state.replicas)
        if part.faults and (running := state.named(part.name)) and running.url and running.pid
    ]
    chosen = [process for process in processes if service in (None, process.name, process.job)]
    if not chosen:
        names = ", ".join(dict.fromkeys(process.job for process in processes))
        raise WrongUse(f"no running service is called {service!r}", f"There are {names or 'none'}")
    return chosen


@dataclass
class Answers:
    """What processes say of their faults, and who did not do as asked, and why: a stopped process keeps nobody from
    asking the others, least of all the one that can let it go on.
    """

    faults: list[Fault] = field(default_factory=list)
    problems: dict[Process, StackError] = field(default_factory=dict)

    def ask(
        self, process: Process, method: str, path: str = "", body: Mapping[str, Any] | None = None
    ) -> list[Fault] | None:
        """What this process answers; None, and a problem, when it does not. Raises WrongUse for what makes no sense."""
        self.problems.pop(process, None)
        try:
            return process.ask(method, path, body)
        except WrongUse:
            raise
        except StackError as error:
            self.problems[process] = error
            return None


def list_faults(processes: Iterable[Process]) -> Answers:
    """Every fault of every process, each with the component that has it."""
    answers = Answers()
    for process in processes:
        answers.faults += answers.ask(process, "GET") or ()
    return answers


def set_fault(processes: Iterable[Process], name: str, parameters: Mapping[str, Any]) -> Answers:
    """Switch a fault on wherever it is known. Raises WrongUse when nobody knows it."""
    return _change(list(processes), name, "PUT", parameters)


def clear_faults(processes: Iterable[Process], name: str | None = None) -> Answers:
    """Switch one fault off, or all of them."""
    if name is not None:
        return _change(list(processes), name, "DELETE")
    answers = Answers()
    for process in sorted(processes, key=lambda process: process.job != OUTSIDE):
        answers.faults += answers.ask(process, "DELETE") or ()
    return answers


def parse_parameters(words: Iterable[str]) -> dict[str, Any]:
    """`["route=/v1/orders", "status=503"]` → typed values. Raises WrongUse."""
    parameters: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not key or not equals:
            raise WrongUse(f"--param {word!r} is not of the form name=value", "Write for example --param status=503")
        try:
            parameters[key] = json.loads(value)
        except ValueError:
            parameters[key] = value
    return parameters


def _change(processes: list[Process], name: str, method: str, parameters: Mapping[str, Any] | None = None) -> Answers:
    answers = Answers()
    known: set[str] = set()

    def change(process: Process) -> bool | None:
        """Whether it knows the fault; None when it does not say."""
        own = answers.ask(process, "GET")
        if own is None:
            return None
        names = {fault["name"] for fault in own}
        known.update(names)
        if name in names:
            changed = answers.ask(process, method, f"/{name}", parameters) or ()
            answers.faults += [fault for fault in changed if fault["name"] == name]
        return name in names

    knowing = {process: change(process) for process in processes}
    silent = [process for process, knows in knowing.items() if knows is None]
    if any(knowing.values()):
        for process in silent:  # perhaps it was stopped, and this has let it go on
            change(process)
    elif not silent:
        raise WrongUse(f"no service knows a fault called {name!r}", f"There are {', '.join(sorted(known)) or 'none'}")
    return answers
