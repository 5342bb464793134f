"""What would keep the stack from running on this machine, each with its remedy. Changes nothing, reaches no network."""

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stack import backends, form
from stack.components import components
from stack.container import engine
from stack.container.addresses import published
from stack.errors import StackError
from stack.layout import Layout
from stack.native import control, postgres
from stack.native.ports import is_free, taken_ports, who_listens
from stack.state import StackState

LEAST_PYTHON = (3, 11)
ENOUGH_FREE_BYTES = 5 * 1024**3  # building every backend leaves about 3 GB in Go's caches, a day's data is below 1 GB
ENOUGH_MEMORY_BYTES = 3 * 1024**3  # the stack takes 1.2 GiB, a linker the rest


@dataclass(frozen=True)
class Finding:
    """What one check found."""

    check: str
    verdict: Literal["ok", "warn", "fail"]
    finding: str
    remedy: str = ""


def examine(layout: Layout) -> list[Finding]:
    """Every check, in the order in which a person would go through them."""
    native: tuple[Callable[[Layout], list[Finding]], ...] = (
        *(check_python, check_engine, check_user, check_state, check_disk, check_memory, check_ports),
        *(check_backends, check_go),
    )
    compose = (check_python, check_engine, check_state, check_memory, check_published_ports)
    checks = compose if form.find(layout) is form.FORMS["compose"] else native
    return [finding for check in checks for finding in check(layout)]


def check_python(layout: Layout) -> list[Finding]:
    """The interpreter that runs the stack."""
    found = f"{'.'.join(map(str, sys.version_info[:3]))} at {sys.executable}"
    if sys.version_info < LEAST_PYTHON:
        return [Finding("python", "fail", found, "Install Python 3.11 or later, then `make up PYTHON=python3.11`")]
    return [Finding("python", "ok", found)]


def check_engine(layout: Layout) -> list[Finding]:
    """Whether containers can be had; only the container form needs them."""
    reason = engine.why_not()
    if reason is None:
        return [Finding("engine", "ok", "a container engine answers; `signalbox up --form` says which form is wanted")]
    if form.find(layout) is form.FORMS["compose"]:
        return [Finding("engine", "fail", reason, "Start the engine, or take the native form: SIGNALBOX_FORM=native")]
    return [Finding("engine", "ok", f"not usable and not needed: {reason}")]


def check_user(layout: Layout) -> list[Finding]:
    """Who would run PostgreSQL."""
    if os.geteuid() != 0:
        return [Finding("user", "ok", f"uid {os.geteuid()}")]
    try:
        user = postgres.server_user(layout.data / postgres.PRIMARY, layout.elsewhere / postgres.PRIMARY)
    except StackError as error:
        return [Finding("user", "fail", error.what, error.remedy)]
    return [Finding("user", "ok", f"root; PostgreSQL refuses that and runs as {user.name}")]


def check_state(layout: Layout) -> list[Finding]:
    """Whether a stack runs, or remains of one lie about."""
    state = _running(layout)
    if state is not None:
        readiness = "ready" if state.ready else "not ready"
        return [Finding("state", "ok", f"running since {state.started_at}, {readiness}; {layout.state}")]
    if control.remains(layout):
        return [Finding("state", "warn", f"remains of a stack in {layout.state}", "`signalbox down` clears them away")]
    existing = next(folder for folder in (layout.state, *layout.state.parents) if folder.exists())
    if not os.access(existing, os.W_OK):
        return [Finding("state", "fail", f"{existing} is not writable", "Point SIGNALBOX_STATE at a folder that is")]
    return [Finding("state", "ok", f"nothing runs; {layout.state}")]


def check_disk(layout: Layout) -> list[Finding]:
    """Free space for data, and for backends that still have to be built."""
    findings = []
    for check, folder in (("disk", layout.state), ("disk of the cache", backends_cache())):
        existing = next(place for place in (folder, *folder.parents) if place.exists())
        free = shutil.disk_usage(existing).free
        text = f"{free / 1024**3:.1f} GB free at {existing}"
        if free < control.LEAST_FREE_BYTES:
            findings.append(Finding(check, "fail", text, "Free some space"))
        elif free < ENOUGH_FREE_BYTES:
            findings.append(Finding(check, "warn", text, "Building all backends takes about 5 GB"))
        else:
            findings.append(Finding(check, "ok", text))
    return findings


def check_memory(layout: Layout) -> list[Finding]:
    """Memory for the stack and for building it."""
    import psutil

    available = psutil.virtual_memory().available
    text = f"{available / 1024**3:.1f} GB available"
    if available < ENOUGH_MEMORY_BYTES and _running(layout) is None:
        return [Finding("memory", "warn", text, "The stack takes 1.2 GB, building its backends up to 3 GB")]
    return [Finding("memory", "ok", text)]


def check_ports(layout: Layout) -> list[Finding]:
    """Whether the ports are free; those of the running stack are its own."""
    if control.is_running(layout):
        return [Finding("ports", "ok", "taken by the running stack")]
    taken = taken_ports(components(), layout)
    remedy = "Stop it, or shift all ports with SIGNALBOX_PORT_OFFSET=2500"
    return [Finding("ports", "fail", str(port), remedy) for port in taken] or [Finding("ports", "ok", "all free")]


def check_published_ports(layout: Layout) -> list[Finding]:
    """Whether the host's side of the containers' ports is free."""
    if _running(layout) is not None:
        return [Finding("ports", "ok", "taken by the running stack")]
    taken = [port for base in published().values() if not is_free(port := layout.port(base))]
    holders = who_listens(set(taken))
    remedy = "Stop it, or shift all ports with SIGNALBOX_PORT_OFFSET=2500"
    found = [f"port {port} is taken by {holders.get(port, 'another program')}" for port in taken]
    return [Finding("ports", "fail", text, remedy) for text in found] or [Finding("ports", "ok", "all free")]


def check_backends(layout: Layout) -> list[Finding]:
    """Every backend: there, broken, or still to be fetched."""
    findings = []
    for name, pin in backends.load_pins().items():
        optional = all(part.optional for part in components() if part.backend == name)
        found = backends.probe(name, thorough=True)
        if found is not None:
            note = f"; {found.note}" if found.note else ""
            findings.append(Finding(name, "ok", f"{found.version} from {found.source}{note}"))
        elif pin.build is None and optional:
            findings.append(Finding(name, "ok", f"not here, optional; without it: {pin.cost}"))
        elif pin.build is None or not _has_go():
            findings.append(
                Finding(name, "warn", "not here yet", "`signalbox up` downloads it; that needs the network")
            )
        else:
            findings.append(Finding(name, "ok", "not here yet; `signalbox up` downloads or builds it"))
    return findings


def check_go(layout: Layout) -> list[Finding]:
    """Go builds what cannot be downloaded."""
    missing = [name for name, pin in backends.load_pins().items() if pin.build and backends.probe(name) is None]
    if _has_go():
        return [Finding("go", "ok", str(shutil.which("go")))]
    if not missing:
        return [Finding("go", "ok", "not here and not needed: every backend is there")]
    remedy = "Only needed where releases cannot be downloaded: https://go.dev/dl"
    return [Finding("go", "warn", f"not here; {', '.join(missing)} could not be built", remedy)]


def _running(layout: Layout) -> StackState | None:
    """The stack of this checkout, in whichever form it runs; none where its engine does not answer."""
    try:
        return form.find(layout).current_state(layout)
    except StackError:
        return None


def backends_cache() -> Path:
    """Where built and downloaded backends lie."""
    return Path(os.environ.get("SIGNALBOX_CACHE") or "~/.cache/signalbox").expanduser()


def _has_go() -> bool:
    return shutil.which("go") is not None
