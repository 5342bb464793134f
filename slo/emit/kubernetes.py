"""deploy/kubernetes: rules as the Prometheus operator takes them, and what tells kustomize which files there are.

Owns the shape of a PrometheusRule (monitoring.coreos.com/v1) and of a kustomization. The rules themselves are other
emitters', or people's; here they only get another cover, text for text.
"""

from __future__ import annotations

from collections.abc import Iterable

from slo.emit.yaml_text import GENERATED, emit_yaml

NAMESPACE = "signalbox"
LABELS = {"app.kubernetes.io/part-of": "signalbox"}


def emit_prometheus_rule(name: str, rules: str) -> str:
    """A rule file (`groups: …`) as a PrometheusRule of that name."""
    head = emit_yaml(
        {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PrometheusRule",
            "metadata": {"name": name, "namespace": NAMESPACE, "labels": LABELS},
        }
    )
    body = rules.removeprefix(GENERATED).strip("\n").split("\n")
    return head + "spec:\n" + "".join(f"  {line}\n" if line else "\n" for line in body)


def emit_kustomization(files: Iterable[str]) -> str:
    """The list of a folder's files, which `kubectl apply -k` and overlays take as one."""
    return emit_yaml(
        {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": sorted(files),
        }
    )
