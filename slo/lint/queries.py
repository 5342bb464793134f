"""Which series a promise reads, each under the name that OpenSLO gives it: total, good, bad, raw, threshold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from slo.indicators import RatioIndicator, RawIndicator, Selector, ThresholdIndicator
from slo.model import Promise


class Asked(NamedTuple):
    """One selector, what it is for, and whether its metric must count."""

    role: str
    selector: Selector
    counter: bool


def queries(promise: Promise) -> Iterator[Asked]:
    """Every selector of a promise and its parts, the total first. Expressions that are more than one are not taken
    apart."""
    for part in promise.parts:
        yield from queries(part.promise)
    indicator = promise.indicator
    if isinstance(indicator, RatioIndicator):
        yield Asked("total", indicator.total, not indicator.gauge)
        yield Asked(indicator.counts, indicator.counted, not indicator.gauge)
    elif isinstance(indicator, RawIndicator) and indicator.ratio.selector:
        yield Asked("raw", indicator.ratio.selector, False)
    elif isinstance(indicator, ThresholdIndicator) and indicator.measured.selector:
        yield Asked("threshold", indicator.measured.selector, False)
