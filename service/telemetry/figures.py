"""Figures of servers that cannot be scraped: what somebody has read there last, as a scrape wants it.

Owns the latest reading and its exposition. Knows nothing of how it was read. A reading that failed leaves nothing: an
old figure would look like a present one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from service.telemetry import catalog

INTERVAL_S = 5.0

# The family's name in the catalogue, its label values in the catalogue's order, and the value.
Figure = tuple[str, tuple[str, ...], float]
Read = Callable[[], Awaitable[Iterable[Figure]]]


class Figures(Collector):
    """The metrics of ``catalog.SERVER_FIGURES``, each with the figures of the last reading of each source."""

    def __init__(self) -> None:
        self._of_source: dict[str, list[Figure]] = {}

    def keep(self, source: str, figures: Iterable[Figure]) -> None:
        """Put a reading in the place of the one before."""
        self._of_source[source] = list(figures)

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        """Every family, with or without figures."""
        read = [figure for figures in self._of_source.values() for figure in figures]
        for metric in catalog.SERVER_FIGURES:
            make = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            family = make(metric.name, metric.help, labels=metric.labels)
            for name, labels, value in read:
                if name == metric.name:
                    family.add_metric(labels, value)
            yield family


async def observe_figures(figures: Figures, source: str, read: Read, problem: Callable[[Exception], None]) -> None:
    """Read a server for ever; a failing read is told once a streak."""
    failing = False
    while True:
        try:
            figures.keep(source, await read())
            failing = False
        except Exception as error:
            figures.keep(source, ())
            if not failing:
                problem(error)
            failing = True
        await asyncio.sleep(INTERVAL_S)
