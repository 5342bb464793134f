"""How lengths of time read."""

from __future__ import annotations


def emit_coarse(seconds: float) -> str:
    """Whole seconds at the finest, two units at most: `42 s`, `4 min 10 s`, `2 h 5 min`, `3 d 4 h`."""
    total = round(seconds)
    for size, unit, smaller, smaller_unit in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s")):
        if total >= size:
            rest = total % size // smaller
            return f"{total // size} {unit} {rest} {smaller_unit}" if rest else f"{total // size} {unit}"
    return f"{total} s"
