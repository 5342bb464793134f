"""A deviation: one thing that is not as it was, the trouble it speaks of, and how strongly.

Owns its form and the arithmetic from "how far" to a strength. Refuses to know where it was seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Origin = Literal["metrics", "spans", "logs", "versions", "reach"]


@dataclass(frozen=True)
class Deviation:
    """`strength` is from 0 to 1; `says` is a sentence with now and before; `query` or `trace_id` lead to it."""

    component: str
    kind: str
    strength: float
    origin: Origin
    says: str
    query: str = ""
    trace_id: str = ""


def strength(weight: float, excess: float) -> float:
    """`excess` is how far beyond its limit a figure is, as a factor: at 1 half the weight, at 4 three quarters."""
    return weight * (1 - 0.5 / max(excess, 1.0) ** 0.5)
