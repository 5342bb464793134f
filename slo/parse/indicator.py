"""An OpenSLO SLI → what is measured.

Owns the forms of an indicator: ratios of counters or gauges, ratios that are computed already, and values that are
compared with a threshold. The threshold itself stands in an objective, so such an indicator is only its query here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from slo.model import Query, RatioIndicator, RawIndicator
from slo.parse.catalogue import Catalogue, Document
from slo.parse.data_source import TYPES
from slo.parse.fields import Fields
from slo.parse.metadata import read_metadata
from slo.parse.query import parse_query
from slo.parse.selector import parse_selector

Measured = RatioIndicator | RawIndicator | Query
T = TypeVar("T")


def read_sli(document: Document, catalogue: Catalogue) -> Measured | None:
    """Read a document of kind SLI."""
    return read_indicator(document.metadata, document.spec, catalogue) if document.spec else None


def find_indicator(owner: Fields, catalogue: Catalogue) -> Measured | None:
    """The indicator of an SLO or of one of its objectives, inline or by reference; None when a problem was filed."""
    inline, reference = owner.mapping("indicator", required=False), owner.name("indicatorRef", required=False)
    if (inline is None) == (not reference):
        what = "exactly one of indicator and indicatorRef is needed"
        owner.problem("indicator", "field-missing", what, "Write an indicator, or the name of an SLI document")
        return None
    if inline is None:
        return catalogue.find("SLI", reference, owner, "indicatorRef")
    metadata, spec = inline.mapping("metadata", required=False), inline.mapping("spec")
    inline.done()
    return read_indicator(metadata, spec, catalogue) if spec else None


def read_indicator(metadata: Fields | None, spec: Fields, catalogue: Catalogue) -> Measured | None:
    """Read the metadata and the spec of an SLI; None when a problem was filed."""
    if metadata is not None:
        read_metadata(metadata)
    spec.text("description", required=False)
    threshold, ratio = spec.mapping("thresholdMetric", required=False), spec.mapping("ratioMetric", required=False)
    spec.done()
    if (threshold is None) == (ratio is None):
        what = "exactly one of ratioMetric and thresholdMetric is needed"
        spec.problem("ratioMetric", "field-missing", what, "Write one of the two")
    elif threshold is not None:
        return _read_source(threshold, parse_query, catalogue)
    elif ratio is not None:
        return (
            _read_raw(ratio, catalogue) if ratio.has("raw") or ratio.has("rawType") else _read_ratio(ratio, catalogue)
        )
    return None


def _read_ratio(ratio: Fields, catalogue: Catalogue) -> RatioIndicator | None:
    gauge = ratio.choice("counter", ["true", "false"]) == "false"
    total = _read_source(ratio.mapping("total"), parse_selector, catalogue)
    good, bad = ratio.mapping("good", required=False), ratio.mapping("bad", required=False)
    ratio.done()
    counted = _read_source(good or bad, parse_selector, catalogue)
    if (good is None) == (bad is None):
        ratio.problem("good", "field-form", "exactly one of good and bad is needed", "Give the one that is counted")
        return None
    if total is None or counted is None:
        return None
    return RatioIndicator(total, counted, "bad" if good is None else "good", gauge)


def _read_raw(ratio: Fields, catalogue: Catalogue) -> RawIndicator | None:
    ratio.choice("counter", ["true", "false"], default="false")  # OpenSLO: ignored with raw
    for key in ("good", "bad", "total"):
        ratio.refuse(key, "cannot stand beside raw, which is the ratio already", "Remove it, or remove raw")
    means = ratio.choice("rawType", ["success", "failure"])
    query = _read_source(ratio.mapping("raw"), parse_query, catalogue)
    ratio.done()
    if query is None or means is None:
        return None
    return RawIndicator(query, "success" if means == "success" else "failure")


def _read_source(owner: Fields | None, parse: Callable[[str], T], catalogue: Catalogue) -> T | None:
    source = owner.mapping("metricSource") if owner else None
    if owner:
        owner.done()
    if source is None:
        return None
    reference = source.name("metricSourceRef", required=False)
    if reference:
        catalogue.find("DataSource", reference, source, "metricSourceRef")
    source.choice("type", TYPES, default=TYPES[0] if reference else None)
    spec = source.mapping("spec")
    source.done()
    query = spec.parsed("query", parse) if spec else None
    if spec:
        spec.done()
    return query
