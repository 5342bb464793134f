"""deploy/kubernetes is closed wherever it can be: pods are restricted, and every open flow is listed here."""

from __future__ import annotations

import re
from typing import Any

from tests.contract.manifests import (
    AGENTS,
    Manifest,
    container,
    each_overlay,
    environment,
    labels,
    of_kind,
    pod,
    workloads,
)

# Hardened


@each_overlay
def test_every_pod_is_restricted_and_only_the_log_agent_is_not(overlay: str) -> None:
    for name, workload in workloads(overlay).items():
        security, own = pod(workload).get("securityContext", {}), container(workload)["securityContext"]
        assert own["readOnlyRootFilesystem"] is True
        assert own["allowPrivilegeEscalation"] is False
        assert own["capabilities"]["drop"] == ["ALL"]
        assert own["capabilities"].get("add", []) == (["NET_BIND_SERVICE"] if name == "gateway" else [])
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod(workload)["automountServiceAccountToken"] is False
        for dangerous in ("hostNetwork", "hostPID", "hostIPC"):
            assert dangerous not in pod(workload)
        kinds = {kind for volume in pod(workload)["volumes"] for kind in volume if kind != "name"}
        if name == "collector-agent":
            assert workload["metadata"]["namespace"] == AGENTS
            continue
        assert workload["metadata"]["namespace"] == "signalbox"
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] > 0
        assert kinds <= {"emptyDir", "configMap", "secret"}, name
    enforced = {
        one["metadata"]["name"]: one["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
        for one in of_kind(overlay, "Namespace")
    }
    assert enforced == {"signalbox": "restricted", AGENTS: "privileged"}


@each_overlay
def test_every_container_has_requests_and_a_limit_of_memory(overlay: str) -> None:
    for name, workload in workloads(overlay).items():
        resources = container(workload)["resources"]
        assert set(resources["requests"]) == {"cpu", "memory"}, name
        assert resources["limits"]["memory"] == resources["requests"]["memory"], f"{name} could be evicted first"


def test_what_is_replicated_is_spread_and_disrupted_one_at_a_time() -> None:
    budgets = {budget["metadata"]["name"]: budget["spec"] for budget in of_kind("prod", "PodDisruptionBudget")}
    for name, workload in workloads("prod").items():
        if workload["kind"] not in ("Deployment", "StatefulSet"):
            continue
        selector = budgets[name]["selector"]["matchLabels"]
        assert selector.items() <= labels(workload).items()
        assert budgets[name]["maxUnavailable"] == 1
        spread = pod(workload)["topologySpreadConstraints"]
        assert {one["topologyKey"] for one in spread} == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}
        for one in spread:
            assert one["labelSelector"]["matchLabels"].items() <= labels(workload).items()


@each_overlay
def test_selectors_find_their_own_pods_and_nobody_elses(overlay: str) -> None:
    found = workloads(overlay)
    for name, workload in found.items():
        if workload["kind"] == "Job":
            continue
        selector = workload["spec"]["selector"]["matchLabels"].items()
        assert {other for other, one in found.items() if selector <= labels(one).items()} == {name}
    for service in of_kind(overlay, "Service"):
        chosen = [one for one in found.values() if service["spec"]["selector"].items() <= labels(one).items()]
        assert len(chosen) == 1, service["metadata"]["name"]
        named = {port["name"] for port in container(chosen[0])["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= named


# Who may talk to whom

NOBODY = {"matchLabels": {"kubernetes.io/metadata.name": ""}}


def chosen(selector: dict[str, Any], having: dict[str, str]) -> bool:
    if not selector.get("matchLabels", {}).items() <= having.items():
        return False
    for rule in selector.get("matchExpressions", []):
        inside = having.get(rule["key"]) in rule["values"]
        if inside != (rule["operator"] == "In"):
            return False
    return True


def allowed(overlay: str, source: Manifest, target: Manifest, port: str) -> bool:
    """Whether the policies let one workload's pods reach a named port of another's: out of the one, into the other."""

    def passes(direction: str, here: Manifest, there: Manifest) -> bool:
        namespace = there["metadata"]["namespace"]
        for policy in of_kind(overlay, "NetworkPolicy"):
            if policy["metadata"]["namespace"] != here["metadata"]["namespace"]:
                continue
            if not chosen(policy["spec"]["podSelector"], labels(here)):
                continue
            for rule in policy["spec"].get(direction, []):
                peers = rule.get("from" if direction == "ingress" else "to")
                fits = peers is None or any(
                    chosen(peer.get("podSelector", {}), labels(there))
                    and (
                        chosen(peer["namespaceSelector"], {"kubernetes.io/metadata.name": namespace})
                        if "namespaceSelector" in peer
                        else namespace == here["metadata"]["namespace"]
                    )
                    for peer in peers
                    if "ipBlock" not in peer
                )
                if fits and any(one["port"] == port for one in rule["ports"]):
                    return True
        return False

    return passes("egress", source, target) and passes("ingress", target, source)


FLOWS = {
    ("gateway", "api", "http"),
    ("api", "payments", "http"),
    ("worker", "payments", "http"),
    ("collector-agent", "collector-gateway", "otlp-grpc"),
    ("gateway", "collector-agent", "otlp-http"),
    ("api", "collector-agent", "otlp-http"),
    ("worker", "collector-agent", "otlp-http"),
    ("payments", "collector-agent", "otlp-http"),
}
FLOWS_OF_DEVELOPMENT = {
    ("prober", "gateway", "http"),
    ("prober", "issuer", "http"),
    ("api", "issuer", "http"),
    ("worker", "issuer", "http"),
    ("payments", "issuer", "http"),
    ("issuer", "collector-agent", "otlp-http"),
    ("prober", "collector-agent", "otlp-http"),
}


@each_overlay
def test_whoever_keeps_data_reaches_the_database(overlay: str) -> None:
    keepers = {name for name, one in workloads(overlay).items() if needs_database(one)}
    assert keepers >= {"api", "worker", "payments"}
    for name in keepers:
        ports = {
            port["port"]
            for policy in of_kind(overlay, "NetworkPolicy")
            if policy["metadata"]["namespace"] == workloads(overlay)[name]["metadata"]["namespace"]
            and chosen(policy["spec"]["podSelector"], labels(workloads(overlay)[name]))
            for rule in policy["spec"].get("egress", [])
            if any("ipBlock" in peer for peer in rule.get("to", []))
            for port in rule["ports"]
        }
        assert 5432 in ports, name


@each_overlay
def test_data_inside_the_cluster_is_let_through_by_its_namespace(overlay: str) -> None:
    """A network plug-in need not find pods by networks of addresses."""
    for name, workload in workloads(overlay).items():
        if not needs_database(workload):
            continue
        asked = " ".join(environment(overlay, workload).values())
        for namespace, port in set(re.findall(r"@?[\w-]+\.([\w-]+)\.svc:(\d+)", asked)):
            if namespace in ("signalbox", AGENTS):
                continue
            open_ports = {
                one["port"]
                for policy in of_kind(overlay, "NetworkPolicy")
                if policy["metadata"]["namespace"] == workload["metadata"]["namespace"]
                and chosen(policy["spec"]["podSelector"], labels(workload))
                for rule in policy["spec"].get("egress", [])
                for peer in rule.get("to", [])
                if chosen(peer.get("namespaceSelector", NOBODY), {"kubernetes.io/metadata.name": namespace})
                for one in rule["ports"]
            }
            assert int(port) in open_ports, f"{name} cannot reach {namespace}:{port}"


def needs_database(workload: Manifest) -> bool:
    """Whether it is one of the service's processes, all of which keep something there but the issuer."""
    command = container(workload).get("args") or container(workload).get("command") or []
    return "service" in command and "issuer" not in command


@each_overlay
def test_these_flows_are_let_through_and_no_others(overlay: str) -> None:
    found = workloads(overlay)
    open_flows = {
        (source, target, port["name"])
        for source in found
        for target in found
        if source != target
        for port in container(found[target]).get("ports", [])
        if allowed(overlay, found[source], found[target], port["name"])
    }
    assert open_flows == FLOWS | (FLOWS_OF_DEVELOPMENT if overlay == "dev" else set())


@each_overlay
def test_nothing_passes_that_no_policy_names(overlay: str) -> None:
    closed = [
        policy["metadata"]["namespace"]
        for policy in of_kind(overlay, "NetworkPolicy")
        if policy["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    ]
    assert sorted(closed) == ["signalbox", AGENTS]
