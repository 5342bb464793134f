"""The faults of the running processes, switched over HTTP. Knows none by name: it asks every process that has some."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from stack.components import components
from stack.errors import StackError, WrongUse
from stack.state import StackState

TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Process:
    """A running component that has faults."""

    name: str
    job: str
    url: str

    def ask(self, method: str, path: str = "", body: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
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


def list_faults(processes: Iterable[Process]) -> list[dict[str, Any]]:
    """Every fault of every process, each with the component that has it."""
    return [fault for process in processes for fault in process.ask("GET")]


def set_fault(processes: Iterable[Process], name: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Switch a fault on wherever it is known. Raises WrongUse when nobody knows it."""
    return _change(list(processes), name, "PUT", parameters)


def clear_faults(processes: Iterable[Process], name: str | None = None) -> list[dict[str, Any]]:
    """Switch one fault off, or all of them."""
    if name is None:
        return [fault for process in processes for fault in process.ask("DELETE")]
    return _change(list(processes), name, "DELETE")


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


def _change(
    processes: list[Process], name: str, method: str, parameters: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    known = {process: {fault["name"] for fault in process.ask("GET")} for process in processes}
    having = [process for process in processes if name in known[process]]
    if not having:
        names = sorted({fault for faults in known.values() for fault in faults})
        raise WrongUse(f"no service knows a fault called {name!r}", f"There are {', '.join(names) or 'none'}")
    return [
        fault for process in having for fault in process.ask(method, f"/{name}", parameters) if fault["name"] == name
    ]
