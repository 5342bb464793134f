"""The scenario: an incident as a timed claim.

Owns the form of a scenario and what each field may hold. Refuses to know YAML and the running system: which faults a
process offers and whether a query finds anything show only when the scenario runs.

Every `*_s` in a file is in real seconds at the file's own `clock`, the factor by which the SLO windows are divided.
At a slower clock the windows are longer, so every time is stretched by the same ratio; a faster clock shortens none.
"""

from __future__ import annotations

import fnmatch
import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from incidents.drive import REQUEST_KINDS

TWIN_SUFFIX = "-twin"
NOMINAL_WINDOW_S = 300.0
MIN_WINDOW_S = 10.0
"""`$window` in a query: five minutes on the SLO clock, but never under ten scrapes of a fast clock."""

_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "==": operator.eq,
    "!=": operator.ne,
}


@dataclass(frozen=True)
class Threshold:
    """A comparison with a number, written as `> 0.05`."""

    comparison: str
    value: float

    def holds(self, observed: float | None) -> bool:
        """Whether `observed` fulfils it. Nothing observed, or NaN, fulfils nothing."""
        if observed is None or math.isnan(observed):
            return False
        return _COMPARISONS[self.comparison](observed, self.value)

    def nearest(self, values: list[float]) -> float | None:
        """Of several values the one nearest to fulfilling it: the greatest for `>`, the least for `<`."""
        numbers = [value for value in values if not math.isnan(value)]
        if not numbers:
            return None
        if self.comparison in ("==", "!="):
            return next((value for value in numbers if self.holds(value)), numbers[0])
        return max(numbers) if ">" in self.comparison else min(numbers)

    def __str__(self) -> str:
        return f"{self.comparison} {self.value:g}"


def parse_threshold(text: object) -> Threshold:
    """`> 0.05` → Threshold. Raises ValueError."""
    found = re.fullmatch(r"\s*(>=|<=|==|!=|>|<)\s*(-?\d+(?:\.\d+)?(?:[eE]-?\d+)?)\s*", str(text))
    if isinstance(text, Threshold):
        return text
    if found is None:
        raise ValueError(f'{text!r} is not a comparison with a number. Write it like "> 0.05" or ">= 1"')
    return Threshold(found[1], float(found[2]))


class _Part(BaseModel):
    """A part of a scenario: immutable, unknown keys refused, nothing converted in silence."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


Seconds = Annotated[float, Field(gt=0)]
Text = Annotated[str, Field(min_length=1)]
Wanted = Annotated[Threshold, BeforeValidator(parse_threshold), PlainSerializer(str)]
Tier = Literal["page", "ticket"]
Unit = Literal["ratio", "s", "per s", "count"]


class Step(_Part):
    """A rate of requests, held for some time; only the last may go on until the run ends."""

    rate_per_s: Annotated[float, Field(gt=0, le=2_000)]
    for_s: Seconds | None = None


RequestKind = Literal[
    "browse_products", "read_product", "read_popular_product", "read_hot_product", "read_user", "create_order"
]
Mix = Annotated[dict[RequestKind, Annotated[float, Field(gt=0)]], Field(min_length=1)]


class Load(_Part):
    """The open-loop load. Its steps begin with the baseline phase."""

    mix: Mix
    steps: Annotated[list[Step], Field(min_length=1)]


class Seeds(_Part):
    """What is drawn, and from which seed. `load` decides arrival times, kinds and ids of requests."""

    load: Annotated[int, Field(ge=0)]


class ServiceFault(_Part):
    """A fault that the processes of `target` offer at /internal/faults; `onset_s` counts from the onset phase."""

    kind: Literal["service"]
    target: Text
    name: Text
    parameters: dict[str, bool | str | float | int] = {}
    onset_s: Annotated[float, Field(ge=0)] = 0.0
    duration_s: Seconds

    def __str__(self) -> str:
        told = ", ".join(
            f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}"
            for key, value in self.parameters.items()
        )
        return f"{self.name} at {self.target} ({told})" if told else f"{self.name} at {self.target}"


class LoadFault(_Part):
    """More load than the system was made for: a second stream of requests beside the scenario's own."""

    kind: Literal["load"]
    mix: Mix
    rate_per_s: Annotated[float, Field(gt=0, le=2_000)]
    onset_s: Annotated[float, Field(ge=0)] = 0.0
    duration_s: Seconds

    @property
    def name(self) -> str:
        return "load"

    def __str__(self) -> str:
        return f"{self.rate_per_s:g} requests a second more ({', '.join(self.mix)})"


Fault = ServiceFault | LoadFault


class Cause(_Part):
    """What is truly broken, in the words that a search for it is scored on."""

    component: Text
    kind: Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$")]


class PromqlCheck(_Part):
    """An instant query; of several series the one nearest to `wanted` counts."""

    kind: Literal["promql"]
    name: Text
    query: Text
    wanted: Wanted

    def question(self) -> str:
        return self.query.strip()


class HttpCheck(_Part):
    """The status that a GET answers; `{gateway}` and the like stand for addresses."""

    kind: Literal["http"]
    name: Text
    url: Text
    wanted: Wanted

    def question(self) -> str:
        return f"GET {self.url}"


class LogCheck(_Part):
    """The number of log lines that a LogQL query selects."""

    kind: Literal["logs"]
    name: Text
    query: Text
    wanted: Wanted

    def question(self) -> str:
        return self.query.strip()


class SpanMatch(_Part):
    """Spans within a trace; a trace counts when it holds at least `at_least` that fulfil everything given."""

    service: Text | None = None
    operation: Text | None = None
    kind: Literal["server", "client", "producer", "consumer", "internal"] | None = None
    error: bool | None = None
    tags: dict[str, str] = {}
    min_duration_ms: Annotated[float, Field(gt=0)] | None = None
    at_least: Annotated[int, Field(ge=1)] = 1


class TraceQuery(_Part):
    """What Jaeger is asked for; `holding` then looks inside the traces found."""

    service: Text
    operation: Text | None = None
    tags: dict[str, str] = {}
    min_duration_ms: Annotated[float, Field(gt=0)] | None = None
    holding: SpanMatch | None = None


class TraceCheck(_Part):
    """The number of traces that a search finds."""

    kind: Literal["traces"]
    name: Text
    query: TraceQuery
    wanted: Wanted

    def question(self) -> str:
        return _emit_terms(self.query)


class PromqlSignal(PromqlCheck):
    """A PromQL check with a deadline after onset; `unit` is for the axis of its plot."""

    deadline_s: Seconds
    unit: Unit = "count"


class LogSignal(LogCheck):
    """A log check with a deadline after onset."""

    deadline_s: Seconds


class TraceSignal(TraceCheck):
    """A trace check with a deadline after onset."""

    deadline_s: Seconds


Check = PromqlCheck | HttpCheck | LogCheck | TraceCheck
Signal = PromqlSignal | LogSignal | TraceSignal
Checks = Annotated[list[Annotated[Check, Field(discriminator="kind")]], Field(min_length=1)]


class Baseline(_Part):
    """The gate: all checks hold together for `hold_s`, within `deadline_s`, or nothing is broken."""

    hold_s: Seconds
    deadline_s: Seconds
    checks: Checks


class Alert(_Part):
    """The alert that must reach the pager within `deadline_s` after onset and, once mitigated, resolve."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9]*$")]
    tier: Tier
    deadline_s: Seconds
    resolves_within_s: Seconds
    exemplar_crosses: list[Text] = []
    """Services that the page's exemplar trace must hold failing or not; empty: no exemplar is asked for."""


class Mitigation(_Part):
    """What ends the incident, and the checks that show it, all within `deadline_s`."""

    story: Text
    action: Literal["clear-faults"]
    deadline_s: Seconds
    checks: Checks


class Rollback(_Part):
    """How the system is left. Faults are always cleared and load always stopped; the checks show the rest."""

    deadline_s: Seconds
    checks: Checks


class Plot(_Part):
    """A plot for the report beside those of the signals."""

    name: Text
    query: Text
    unit: Unit = "count"


class Scenario(_Part):
    """An incident as its file has it. Its twin is the same run without the faults."""

    id: Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$")]
    title: Text
    story: Text
    clock: Annotated[float, Field(ge=1, le=100)]
    seeds: Seeds
    load: Load
    cause: Cause
    faults: Annotated[list[Annotated[Fault, Field(discriminator="kind")]], Field(min_length=1)]
    baseline: Baseline
    signals: Annotated[list[Annotated[Signal, Field(discriminator="kind")]], Field(min_length=1)]
    alert: Alert
    must_not_fire: list[Text]
    runbook: Annotated[str, Field(pattern=r"^docs/runbooks/[A-Za-z0-9]+\.md$")]
    mitigation: Mitigation
    rollback: Rollback
    plots: list[Plot] = []

    def forbids(self, alert: str) -> bool:
        """Whether `alert` must stay silent: it matches `must_not_fire` and is not the one expected."""
        return alert != self.alert.name and any(fnmatch.fnmatchcase(alert, name) for name in self.must_not_fire)

    @property
    def watch_s(self) -> float:
        """The longest time from onset to the last deadline before mitigation."""
        return max(self.alert.deadline_s, *(signal.deadline_s for signal in self.signals))

    @property
    def longest_s(self) -> float:
        """The longest time the whole run may take."""
        calm = max(self.mitigation.deadline_s, self.alert.resolves_within_s)
        return self.baseline.deadline_s + self.watch_s + calm + self.rollback.deadline_s

    def at_clock(self, clock: float) -> Scenario:
        """This scenario with its times stretched for a slower clock (see the module's docstring)."""
        ratio = max(1.0, self.clock / clock)
        return Scenario.model_validate(_stretch(self.model_dump(), ratio))


def window_s(clock: float) -> float:
    """The seconds that `$window` stands for at `clock`."""
    return max(NOMINAL_WINDOW_S / clock, MIN_WINDOW_S)


def _stretch(value: Any, ratio: float, key: str = "") -> Any:
    """`value` with every number under a key that ends in `_s` multiplied; `rate_per_s` is no time."""
    if isinstance(value, Mapping):
        return {name: item if name == "parameters" else _stretch(item, ratio, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_stretch(item, ratio) for item in value]
    if isinstance(value, float) and key.endswith("_s") and not key.endswith("_per_s"):
        return value * ratio
    return value


def _emit_terms(part: BaseModel) -> str:
    """`service=api error=true holding(service=payments)`: a query as a person would note it down."""
    terms = []
    for name, field in type(part).model_fields.items():
        value = getattr(part, name)
        if value == field.default:
            continue
        if isinstance(value, BaseModel):
            terms.append(f"{name}({_emit_terms(value)})")
        elif isinstance(value, dict):
            terms += [f"{key}={item}" for key, item in value.items()]
        else:
            terms.append(f"{name}={str(value).lower() if isinstance(value, bool) else value}")
    return " ".join(terms)


def known_keys() -> list[str]:
    """Every key that some part of a scenario has, for guessing what a misspelt one meant."""
    parts: list[type[BaseModel]] = [
        value for value in globals().values() if isinstance(value, type) and issubclass(value, _Part)
    ]
    return sorted({key for part in parts for key in part.model_fields} | set(REQUEST_KINDS))
