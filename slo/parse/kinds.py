"""Every kind of document there is, in the order of reading.

A new kind is a reader in a module of its own and one entry here, behind the kinds that it refers to.
"""

from __future__ import annotations

from slo.parse.alerting import read_condition_document, read_policy_document, read_target_document
from slo.parse.budget import read_budget_policy
from slo.parse.catalogue import Kind
from slo.parse.data_source import read_data_source
from slo.parse.indicator import read_sli
from slo.parse.openslo import read_slo
from slo.parse.scaling import read_scaling_policy
from slo.parse.service import read_service

OPENSLO = "openslo/v1"
SIGNALBOX = "signalbox.dev/v1"


KINDS = (
    Kind(OPENSLO, "DataSource", read_data_source),
    Kind(OPENSLO, "Service", read_service, spec_required=False),
    Kind(OPENSLO, "SLI", read_sli),
    Kind(OPENSLO, "AlertNotificationTarget", read_target_document),
    Kind(OPENSLO, "AlertCondition", read_condition_document),
    Kind(OPENSLO, "AlertPolicy", read_policy_document),
    Kind(OPENSLO, "SLO", read_slo),
    Kind(SIGNALBOX, "ScalingPolicy", read_scaling_policy),
    Kind(SIGNALBOX, "BudgetPolicy", read_budget_policy),
)
