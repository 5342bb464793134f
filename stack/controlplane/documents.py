"""What the control plane is told before anything is scaled: namespaces, a node, the workload, who serves metrics.

Owns these documents. The autoscaler's own come from the SLO compiler, untouched.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from pathlib import Path

from slo.scaling import ScalingPolicy
from stack.controlplane.cluster import Document

ADAPTER_HOST = "keda-metrics-apiserver.keda.svc"
OPERATOR_HOST = "keda-operator.keda.svc"
USAGE_HOST = "usage.kube-system.svc"
IMAGE = "signalbox:checkout"  # nobody pulls it: kwok stands in for what would


def ground() -> list[Document]:
    """What everything stands on."""
    namespaces = [_document("v1", "Namespace", name) for name in ("keda", "signalbox")]
    node = _document("v1", "Node", "this-machine", metadata={"annotations": {"kwok.x-k8s.io/node": "fake"}})
    return [*namespaces, node]


def deployment(policy: ScalingPolicy, replicas: int) -> Document:
    """The workload of a policy. What a replica may use is what its drivers call its capacity."""
    name, labels = policy.workload.name, {"app": policy.workload.name}
    cpu, memory = policy.driver("cpu"), policy.driver("memory")
    requests = {
        **({"cpu": str(cpu.capacity)} if cpu else {}),
        **({"memory": str(int(memory.capacity))} if memory else {}),
    }
    container = {"name": name, "image": IMAGE, "resources": {"requests": requests}}
    spec = {
        "replicas": replicas,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
    }
    return _document("apps/v1", "Deployment", name, namespace=policy.workload.namespace, spec=spec)


def metrics_apis(*, usage: int, adapter: int | None, authority: bytes) -> Iterable[Document]:
    """Who answers for the usage of pods (we, in the kubelet's place) and for external metrics: KEDA's adapter, or we
    where there is none. Both are told by their port."""
    answering = {"metrics.k8s.io": (USAGE_HOST, usage)}
    answering["external.metrics.k8s.io"] = (ADAPTER_HOST, adapter) if adapter else (USAGE_HOST, usage)
    for group, (host, port) in answering.items():
        name, namespace, _ = host.split(".")
        external = {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]}
        yield _document("v1", "Service", name, namespace=namespace, spec=external)
        spec = {
            "group": group,
            "version": "v1beta1",
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "service": {"name": name, "namespace": namespace, "port": port},
            "caBundle": base64.b64encode(authority).decode(),
        }
        yield _document("apiregistration.k8s.io/v1", "APIService", f"v1beta1.{group}", spec=spec)


def kubeconfig(url: str, authority: Path, certificate: Path, key: Path) -> Document:
    """How the programs find the API server, and who they are to it."""
    user = {"client-certificate": str(certificate), "client-key": str(key)}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "local", "cluster": {"server": url, "certificate-authority": str(authority)}}],
        "users": [{"name": "admin", "user": user}],
        "contexts": [{"name": "local", "context": {"cluster": "local", "user": "admin"}}],
        "current-context": "local",
    }


def _document(
    version: str,
    kind: str,
    name: str,
    *,
    namespace: str = "",
    metadata: Document | None = None,
    spec: Document | None = None,
) -> Document:
    where = {"namespace": namespace} if namespace else {}
    content = {"spec": spec} if spec is not None else {}
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, **where, **(metadata or {})}, **content}
