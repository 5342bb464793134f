"""A figure: what was measured, what was promised, whether it held. Tables and the results file are made of these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One measured number of one promise."""

    promise: int
    case: str
    what: str
    value: float
    promised: str
    held: bool
    remark: str = ""

    def __str__(self) -> str:
        said = f"promise {self.promise}: {self.case}: {self.what} {self.value:g}, promised {self.promised}"
        return f"{said}{f' ({self.remark})' if self.remark else ''}: {'holds' if self.held else 'BROKEN'}"


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which ``share`` of them lie (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
