"""What is known about the cause of a page: what is lost, where, what it says, whom it waits for, what changed.

Owns the evidence as data, its JSON, and when a dependency is under suspicion. Refuses to know where it comes from.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

# A dependency is suspected when its calls fail or are slow now, and did and were not before the alert.
LEAST_FAILING = 0.01
WORSE_FAILING = 2.0
LEAST_SECONDS = 0.01
WORSE_SECONDS = 2.0


@dataclass(frozen=True)
class Share:
    """A route, version or instance, and its bad events: their number (route), or their share of its own events."""

    name: str
    value: float


@dataclass(frozen=True)
class Raised:
    """An exception in the logs since the alert; `is_new` when none of it was there in the hour before."""

    service: str
    type: str
    count: float
    is_new: bool


@dataclass(frozen=True)
class Dependency:
    """The calls to one peer: the share that fails, and seconds a call; now, and usually in the hour before."""

    name: str
    failing: float
    failing_before: float | None
    seconds: float | None
    seconds_before: float | None
    is_past: bool = False  # was under suspicion earlier in this page's life, and is no more

    @property
    def fails(self) -> bool:
        return self.failing >= LEAST_FAILING and self.failing > WORSE_FAILING * (self.failing_before or 0.0)

    @property
    def slowdown(self) -> float | None:
        """How many times as slow as before; None when it is not slow."""
        if not self.seconds or not self.seconds_before or self.seconds < LEAST_SECONDS:
            return None
        factor = self.seconds / self.seconds_before
        return factor if factor >= WORSE_SECONDS else None

    @property
    def is_suspect(self) -> bool:
        return self.fails or self.slowdown is not None


@dataclass(frozen=True)
class Evidence:
    """As of `at`, seconds since the epoch. `problems` say which backend did not answer; what it would have told is
    empty then."""

    at: float
    budget_remaining: float | None = None
    lasts_s: float | None = None
    burn_rate: float | None = None
    events_lost: float | None = None
    routes: tuple[Share, ...] = ()
    versions: tuple[Share, ...] = ()
    instances: tuple[Share, ...] = ()
    exceptions: tuple[Raised, ...] = ()
    failure: str | None = None  # the deepest failed span of the exemplar trace
    dependencies: tuple[Dependency, ...] = ()  # those under suspicion, the worst first
    changes: tuple[tuple[float, str], ...] = ()
    problems: tuple[str, ...] = ()

    def to_document(self) -> dict[str, Any]:
        return asdict(self)

    def after(self, earlier: Evidence) -> Evidence:
        """This evidence with what only the earlier one has: who asks tomorrow wants to know what it was, and a backend
        that has gone away takes nothing back."""
        names = {one.name for one in self.dependencies}
        past = (replace(one, is_past=True) for one in earlier.dependencies if one.name not in names)
        kept = {
            name: getattr(earlier, name)
            for name in ("budget_remaining", "lasts_s", "burn_rate", "events_lost", "exceptions", "failure", "changes")
            if not getattr(self, name) and self.problems
        }
        places = {
            name: getattr(earlier, name)
            for name in ("routes", "versions", "instances")
            if not any(share.value for share in getattr(self, name))
        }
        return replace(self, **kept, **places, dependencies=(*self.dependencies, *past))


def parse_evidence(document: dict[str, Any]) -> Evidence:
    """The evidence of `to_document`, after JSON. Raises KeyError or TypeError for that of another release."""
    fields: dict[str, Any] = document | {
        "exceptions": tuple(Raised(**one) for one in document["exceptions"]),
        "dependencies": tuple(Dependency(**one) for one in document["dependencies"]),
        "changes": tuple((at, text) for at, text in document["changes"]),
        "problems": tuple(document["problems"]),
    }
    fields |= {name: tuple(Share(**one) for one in document[name]) for name in ("routes", "versions", "instances")}
    return Evidence(**fields)


def rank_dependencies(dependencies: list[Dependency]) -> tuple[Dependency, ...]:
    """Those under suspicion: what fails before what is slow."""
    suspects = [one for one in dependencies if one.is_suspect]
    return tuple(sorted(suspects, key=lambda one: (-one.failing if one.fails else 0.0, -(one.slowdown or 0.0))))
