"""What scaling policies assume of the service is what the service does."""

from __future__ import annotations

import re

import pytest
import yaml

from service.data.consumer import CONCURRENCY
from service.orders.repository import FULFIL_QUEUE
from service.settings import Settings
from service.telemetry import catalog
from slo.emit.scaling import RULES, emit_scaling
from slo.parse.tree import parse_definitions
from slo.scaling import ScalingPolicy
from stack.components import components
from tests.conftest import ROOT

POLICIES = parse_definitions(ROOT / "slo" / "definitions").scaling
FILES = emit_scaling(POLICIES)
POOL = Settings.model_fields["pool_size"].default
LISTENING = {"worker": 2}  # a worker's queue and its schedule have a connection each, beside the pool


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)
def test_a_replica_opens_as_many_connections_as_is_reckoned_with(policy: ScalingPolicy) -> None:
    assert policy.connections
    assert policy.connections.per_replica == POOL + LISTENING.get(policy.name, 0)


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)
def test_what_is_scaled_is_a_component_that_is_scraped(policy: ScalingPolicy) -> None:
    assert policy.workload.job in {part.job for part in components() if part.metrics}


def test_the_queues_and_the_capacity_are_the_services_own() -> None:
    (worker,) = [policy for policy in POLICIES if policy.name == "worker"]
    queues = {driver.queue for driver in worker.drivers if driver.queue}
    assert queues == {FULFIL_QUEUE}
    depth, api = worker.driver("queueDepth"), next(policy for policy in POLICIES if policy.name == "api")
    assert depth
    assert depth.capacity >= CONCURRENCY, "a replica works on this many jobs at once"
    in_flight = api.driver("inFlight")
    assert in_flight
    assert in_flight.capacity == POOL


def test_targets_ask_only_for_what_is_recorded() -> None:
    rules = [rule for group in yaml.safe_load(FILES[RULES])["groups"] for rule in group["rules"]]
    recorded = {(rule["record"], rule["labels"]["policy"]) for rule in rules}
    asked = {
        found
        for name, text in FILES.items()
        if name.startswith("deploy/kubernetes/keda") or name.endswith("crema.yaml")
        for found in re.findall(r'(scaling:\w+:\w+)\{policy="([\w-]+)"\}', text)
    }
    assert {policy for _, policy in asked} == {policy.name for policy in POLICIES}
    assert asked <= recorded


def test_the_rules_read_only_what_the_service_emits() -> None:
    words = set(re.findall(r"\b(?:http|messaging)_\w+", FILES[RULES])) - {catalog.DESTINATION}
    assert words
    assert words <= catalog.series_names()
