"""The two forms in which the compiler tells Kubernetes how to scale, each applied as it comes and paused as it can be.

Owns what differs between KEDA's ScaledObject and a plain HorizontalPodAutoscaler. Knows no scenario.
"""

from __future__ import annotations

import contextlib
from typing import Any, Protocol

import yaml

from slo.emit.scaling.hpa import emit_hpa
from slo.emit.scaling.keda import emit_scaled_object
from slo.scaling import ScalingPolicy
from stack.controlplane.cluster import Cluster, path_of
from stack.errors import StackError

READY_S = 180.0
PAUSED = "autoscaling.keda.sh/paused-replicas"


class Autoscaler(Protocol):
    """What scales the workload. ``text`` is the document as it was generated."""

    text: str

    async def apply(self, cluster: Cluster) -> None:
        """Begin to scale; returns when it does. Raises StackError."""

    async def pause(self, cluster: Cluster, replicas: int) -> None:
        """Have that many replicas and leave it at that, until ``apply``."""


class Keda:
    """The ScaledObject; KEDA makes an autoscaler of it."""

    def __init__(self, policy: ScalingPolicy, clock: float, prometheus: str) -> None:
        self._policy = policy
        self.text = emit_scaled_object(policy, clock=clock, prometheus=prometheus)

    async def apply(self, cluster: Cluster) -> None:
        document = yaml.safe_load(self.text)
        await cluster.apply(document)
        await cluster.merge(path_of(document), _annotated(None))
        await cluster.await_condition(document, "Ready", READY_S)
        await cluster.await_condition(
            _horizontal(self._policy, f"keda-hpa-{self._policy.name}"), "ScalingActive", READY_S
        )

    async def pause(self, cluster: Cluster, replicas: int) -> None:
        await cluster.merge(path_of(yaml.safe_load(self.text)), _annotated(str(replicas)))


class PlainHpa:
    """The HorizontalPodAutoscaler; what prometheus-adapter would tell it comes from the control plane's own API."""

    def __init__(self, policy: ScalingPolicy, clock: float) -> None:
        self._policy = policy
        self.text = emit_hpa(policy, clock=clock)

    async def apply(self, cluster: Cluster) -> None:
        document = yaml.safe_load(self.text)
        await cluster.apply(document)
        await cluster.await_condition(document, "ScalingActive", READY_S)

    async def pause(self, cluster: Cluster, replicas: int) -> None:
        with contextlib.suppress(StackError):  # it may not be there
            await cluster.delete(yaml.safe_load(self.text))
        workload = self._policy.workload
        path = f"/apis/apps/v1/namespaces/{workload.namespace}/deployments/{workload.name}"
        await cluster.merge(path, {"spec": {"replicas": replicas}})


def _annotated(replicas: str | None) -> dict[str, Any]:
    return {"metadata": {"annotations": {PAUSED: replicas}}}


def _horizontal(policy: ScalingPolicy, name: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": policy.workload.namespace}
    return {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": metadata}
