"""An OpenSLO SLI → RatioIndicator.

Owns which metrics are executed (ratios of counters in Prometheus) and why the others are not.
"""

from __future__ import annotations

from slo.model import RatioIndicator, Selector
from slo.parse.catalogue import Catalogue, Document
from slo.parse.fields import Fields
from slo.parse.metadata import read_metadata
from slo.parse.selector import parse_selector


def read_sli(document: Document, catalogue: Catalogue) -> RatioIndicator | None:
    """Read a document of kind SLI."""
    return read_indicator(document.metadata, document.spec) if document.spec else None


def read_indicator(metadata: Fields | None, spec: Fields) -> RatioIndicator | None:
    """Read the metadata and the spec of an SLI; None when a problem was filed."""
    if metadata is not None:
        read_metadata(metadata)
    spec.text("description", required=False)
    threshold_metric = spec.refuse(
        "thresholdMetric",
        "threshold metrics are not executed: a gauge cannot be weighted by events",
        "Count good events in a histogram bucket and use ratioMetric",
    )
    ratio = spec.mapping("ratioMetric", required=not threshold_metric)
    spec.done()
    return _read_ratio(ratio) if ratio else None


def _read_ratio(ratio: Fields) -> RatioIndicator | None:
    if ratio.choice("counter", ["true", "false"]) == "false":
        ratio.problem("counter", "not-executable", "gauges are not executed", "Count events with a counter")
    for key in ("raw", "rawType"):
        what = "ready-made ratios are not executed: they cannot be weighted by events"
        ratio.refuse(key, what, "Give total, and good or bad, as counters")
    total = _read_source(ratio.mapping("total"))
    good, bad = ratio.mapping("good", required=False), ratio.mapping("bad", required=False)
    ratio.done()
    counted = _read_source(good or bad)
    if (good is None) == (bad is None):
        ratio.problem("good", "field-form", "exactly one of good and bad is needed", "Give the one that is counted")
        return None
    if total is None or counted is None:
        return None
    return RatioIndicator(total, counted, "bad" if good is None else "good")


def _read_source(owner: Fields | None) -> Selector | None:
    source = owner.mapping("metricSource") if owner else None
    if owner is None or source is None:
        return None
    owner.done()
    what = "references to a DataSource are not executed"
    source.refuse("metricSourceRef", what, "Write `type: Prometheus` and the query here")
    source.choice("type", ["Prometheus", "prometheus"])
    spec = source.mapping("spec")
    source.done()
    selector = spec.parsed("query", parse_selector) if spec else None
    if spec:
        spec.done()
    return selector
