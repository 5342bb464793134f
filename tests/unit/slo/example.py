"""A promise to compile, made in code."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

from slo.errors import Location
from slo.model import Promise, RatioIndicator, Service
from slo.parse.selector import parse_selector
from slo.parse.windows import table_for

THIRTY_DAYS = table_for(timedelta(days=30))
PROMISE = Promise(
    name="shop-answers",
    title="Shop answers",
    description="It answers.",
    service=Service("shop", "The shop", "sales"),
    team="sales",
    objective=Decimal("0.999"),
    indicator=RatioIndicator(
        parse_selector('requests_total{job="shop"}'), parse_selector('requests_total{job="shop",code=~"5.."}'), "bad"
    ),
    windows=THIRTY_DAYS,
    journey="",
    impact="Nobody can buy.",
    min_bad_events=3,
    liveness="absent",
    at=Location("shop.yaml", 4, 9),
)
LATENCY = RatioIndicator(
    parse_selector('duration_seconds_count{job="shop",outcome!="excluded"}'),
    parse_selector('duration_seconds_bucket{job="shop",outcome="good",le="0.25"}'),
    "good",
)


def promise(**changes: Any) -> Promise:
    """The example with some fields changed."""
    return replace(PROMISE, **changes)
