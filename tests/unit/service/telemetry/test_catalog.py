"""The catalogue and the instruments are one list; names follow the rules of Prometheus."""

from __future__ import annotations

import re

from service.telemetry import catalog
from service.telemetry.instruments import Instruments


def test_every_metric_of_the_catalogue_is_exposed_and_nothing_else() -> None:
    exposed = {family.name for family in Instruments().registry.collect()}
    assert exposed == {metric.name for metric in catalog.METRICS}


def test_names_follow_the_rules() -> None:
    for metric in catalog.METRICS:
        assert re.fullmatch(r"[a-z][a-z0-9_]*", metric.name)
        assert not metric.name.endswith("_total"), "the suffix is the exposition's"
        assert metric.help.endswith(".")
        assert bool(metric.buckets) == (metric.kind == "histogram")
        assert list(metric.buckets) == sorted(set(metric.buckets))
        assert "le" not in metric.labels
