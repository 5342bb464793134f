"""The rules of triage as objects: `rules.yaml` → topology, detectors, words, explanations.

Owns their form and their consistency. Refuses to know values, backends and scores.
"""

from __future__ import annotations

import re
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

FILE = Path(__file__).parent / "rules.yaml"

Text = Annotated[str, Field(min_length=1)]
Share = Annotated[float, Field(gt=0, le=1)]
Where = Literal["same", "needed", "needing", "beside"]
"""Where a cause is, seen from its effect: in the same component, in one that it needs, in one that needs it, or in
another one that the same caller needs."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Topology(_Part):
    """Who needs whom, and what labels call them."""

    needs: dict[str, list[str]]
    aliases: dict[str, str] = {}
    consumers: list[str] = []
    outside: list[str] = []

    def component(self, name: str) -> str:
        """The component that a label, a tag or a template means."""
        return self.aliases.get(name, name)

    def needed_by(self, component: str) -> set[str]:
        """Everything that `component` needs, directly or not."""
        found: set[str] = set()
        waiting = list(self.needs.get(component, ()))
        while waiting:
            one = waiting.pop()
            if one not in found:
                found.add(one)
                waiting += self.needs.get(one, ())
        return found

    def holds(self, where: Where, cause: str, effect: str) -> bool:
        """Whether `cause` is where `where` says, seen from `effect`."""
        match where:
            case "same":
                return cause == effect
            case "needed":
                return cause in self.needed_by(effect)
            case "needing":
                return effect in self.needed_by(cause)
            case "beside":
                return cause != effect and any({cause, effect} <= set(needed) for needed in self.needs.values())


class Detector(_Part):
    """One suspicious figure; rules.yaml says what the fields mean."""

    name: Text
    component: Text
    kind: Text
    query: Text
    mode: Literal["rises", "falls", "below"]
    floor: Annotated[float, Field(gt=0)]
    factor: Annotated[float, Field(gt=0)] | None = None
    weight: Share
    unit: Literal["count", "ratio", "s", "per s"]
    says: Text
    reason: Text

    @model_validator(mode="after")
    def _has_its_factor(self) -> Detector:
        if (self.factor is None) != (self.mode == "below"):
            raise ValueError(f"{self.name}: a detector that {self.mode} has {'no' if self.factor else 'a'} factor")
        return self


class Limit(_Part):
    """When a figure that is no query is suspicious: as `rises`, see `excess`."""

    floor: Annotated[float, Field(gt=0)]
    factor: Annotated[float, Field(gt=0)]
    weight: Share
    reason: Text

    def excess(self, now: float, before: float) -> float:
        """How far beyond the limit, as a factor; at least 1 is suspicious."""
        return now / max(self.floor, self.factor * before)


class SpanLimits(_Part):
    """What is asked of spans."""

    blame: Limit
    more_failures: Limit
    self_time: Limit
    repeated_calls: Limit
    repeated_statements: Limit
    hopeless_jobs: Limit


class VersionLimits(_Part):
    """What is asked of a version that did not run before."""

    failures: Limit
    seconds: Limit


class Words(_Part):
    """What a new log template says."""

    pattern: Text
    component: Text
    kind: Text
    weight: Share

    @cached_property
    def matcher(self) -> re.Pattern[str]:
        return re.compile(self.pattern, re.IGNORECASE)


class Explanation(_Part):
    """Trouble of a kind in `causes`, where `where` says, explains trouble of a kind in `effects`."""

    why: Text
    causes: list[Text]
    where: Where
    effects: list[Text]


class Rules(_Part):
    """Everything in rules.yaml."""

    topology: Topology
    detectors: list[Detector]
    spans: SpanLimits
    versions: VersionLimits
    words: list[Words]
    other_words_weight: Share
    explanations: list[Explanation]

    @property
    def kinds(self) -> set[str]:
        """Every kind of trouble that these rules can name."""
        return {one.kind for one in (*self.detectors, *self.words)} | {"poison-message", "bad-deploy", "latency"}


@lru_cache(maxsize=1)
def read_rules() -> Rules:
    """The rules that come with the package."""
    return Rules.model_validate(yaml.safe_load(FILE.read_text(encoding="utf-8")))
