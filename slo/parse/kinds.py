"""Every kind of document there is, in the order of reading.

A new kind is a reader in a module of its own and one entry here, behind the kinds that it refers to.
"""

from __future__ import annotations

from collections.abc import Callable

from slo.parse.catalogue import Catalogue, Document, Kind
from slo.parse.indicator import read_sli
from slo.parse.openslo import read_slo
from slo.parse.service import read_service

OPENSLO = "openslo/v1"


def _refuse(remedy: str) -> Callable[[Document, Catalogue], None]:
    """A kind of OpenSLO that is not executed."""

    def read(document: Document, catalogue: Catalogue) -> None:
        name = document.root.text("kind")
        document.root.problem("kind", "not-executable", f"{name} is not executed", remedy)

    return read


KINDS = (
    Kind(OPENSLO, "DataSource", _refuse("Write `type: Prometheus` and the query into each metricSource"), False),
    Kind(OPENSLO, "Service", read_service, spec_required=False),
    Kind(OPENSLO, "SLI", read_sli),
    Kind(OPENSLO, "AlertNotificationTarget", _refuse("Remove it: alerts are routed by their tier label"), False),
    Kind(OPENSLO, "AlertCondition", _refuse("Remove it: tiers and burn factors are data in slo/windows/"), False),
    Kind(OPENSLO, "AlertPolicy", _refuse("Remove it: every SLO gets the burn-rate alerts of its windows"), False),
    Kind(OPENSLO, "SLO", read_slo),
)
