"""What every scenario stands on: the stack at the proof's clock, a control plane beside it, the workload and its
autoscaler in it.

Owns bringing these up and taking them down again, whatever happens. What was running before stays as it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx

from bench.scaling.autoscaler import READY_S, Autoscaler, Keda, PlainHpa
from slo.emit.scaling.hpa import emit_adapter_rules
from slo.parse.tree import parse_definitions
from slo.scaling import ScalingPolicy
from stack import faults
from stack.controlplane import documents
from stack.controlplane.cluster import Cluster, await_true, path_of
from stack.controlplane.external import add_external_metrics, parse_rules
from stack.controlplane.kubelet import Kubelet
from stack.controlplane.plane import ControlPlane, control_plane
from stack.controlplane.programs import Programs
from stack.controlplane.usage import build_app, serving
from stack.errors import StackError
from stack.layout import Layout
from stack.native import control
from stack.state import StackState

POLICY = "api"
# Others at the database of the native stack: the worker's pool of 10, its listener and its schedule, payments' pool of
# 10, and 6 for migrations and people.
RESERVED = 28
FAULTS_AWAY_S = 10.0

Tell = Callable[[str], None]


class Prometheus:
    """The stack's own Prometheus, asked for single numbers."""

    def __init__(self, url: str) -> None:
        self._client = httpx.AsyncClient(base_url=url, timeout=2.0, trust_env=False)

    async def value(self, query: str) -> float | None:
        """The number of an instant query; None where there is none, or no Prometheus."""
        try:
            answer = await self._client.get("/api/v1/query", params={"query": query})
            result = answer.json()["data"]["result"]
            return float(result[0]["value"][1]) if result else None
        except (httpx.HTTPError, ValueError, KeyError):
            return None

    async def close(self) -> None:
        """Let go of the connection."""
        await self._client.aclose()


@dataclass
class Ground:
    """Everything that is up. ``policy`` is the definitions' own, on the database that is there."""

    layout: Layout
    state: StackState
    policy: ScalingPolicy
    clock: float
    cluster: Cluster
    kubelet: Kubelet
    prometheus: Prometheus
    plane: ControlPlane
    autoscaler: Autoscaler

    def url(self, name: str) -> str:
        """Where a component answers."""
        return self.state.urls[name] or ""

    async def replicas(self) -> int:
        """What the autoscaler wishes for: the Deployment's ``spec.replicas``."""
        found = await self.cluster.get(path_of(documents.deployment(self.policy, 1)))
        return int(found["spec"]["replicas"])

    async def fault(self, component: str, name: str, /, **parameters: object) -> None:
        """Switch a fault of a component on; without parameters, off. Raises StackError.

        Asked again for a while: `faults` begins anew whenever the number of replicas changes.
        """
        processes, deadline = faults.faulty(self.state, component), time.monotonic() + FAULTS_AWAY_S
        while True:
            try:
                if parameters:
                    await asyncio.to_thread(faults.set_fault, processes, name, parameters)
                else:
                    await asyncio.to_thread(faults.clear_faults, processes, name)
                return
            except StackError:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.5)


@asynccontextmanager
async def ground(layout: Layout, programs: Programs, clock: float, tell: Tell) -> AsyncIterator[Ground]:
    """All of it, for the length of the block. Raises StackError."""
    policy = next(
        each for each in parse_definitions(layout.root / "slo" / "definitions").scaling if each.name == POLICY
    )
    async with _stack(layout, clock, policy.minimum, tell) as state:
        prometheus = Prometheus(state.urls["prometheus"] or "")
        policy = await _fitted(policy, prometheus)
        tell(f"the database has room for {policy.maximum} replicas")
        async with control_plane(layout, programs, clock, tell) as plane:
            workload = policy.workload
            kubelet = Kubelet(layout, plane.cluster, workload.namespace, workload.name)
            address = state.urls["prometheus"] or ""
            autoscaler = Keda(policy, clock, address) if plane.has_keda else PlainHpa(policy, clock)
            metrics = build_app(lambda: kubelet.usage)
            if not plane.has_keda:
                rules = parse_rules(emit_adapter_rules(clock=clock))
                add_external_metrics(metrics, address, rules)
            with serving(metrics, plane.port("usage"), *plane.certificate("usage")):
                watching = asyncio.create_task(kubelet.run())
                try:
                    made = Ground(layout, state, policy, clock, plane.cluster, kubelet, prometheus, plane, autoscaler)
                    await _settle(made, tell)
                    yield made
                finally:
                    watching.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await watching
        await prometheus.close()


async def _fitted(policy: ScalingPolicy, prometheus: Prometheus) -> ScalingPolicy:
    """The policy with the maximum that the running database allows."""
    allowed: float | None = None

    async def told() -> bool:
        nonlocal allowed
        allowed = await prometheus.value("max(postgresql_connection_max)")
        return allowed is not None

    await await_true(told, "the figure of the database's connections", READY_S)
    return policy.on_database(int(allowed or 0), RESERVED)


@asynccontextmanager
async def _stack(layout: Layout, clock: float, replicas: int, tell: Tell) -> AsyncIterator[StackState]:
    before = control.current_state(layout)
    tell("bringing the stack up" if before is None else "setting the running stack's clock")
    try:
        state = await _brought_up(layout, clock, replicas)
        yield state
    finally:
        if before is None:
            tell("taking the stack down")
            await asyncio.to_thread(control.take_down, layout)
        else:
            tell("leaving the stack as it was")
            await _brought_up(layout, before.clock, before.replicas)


async def _brought_up(layout: Layout, clock: float, replicas: int) -> StackState:
    wish = await asyncio.to_thread(control.bring_up, layout, clock, replicas, starter="scaling")
    state = await asyncio.to_thread(control.follow, layout, wish, lambda state: None)
    if not state.ready:
        failed = [f"{part.name} is {part.state}: {part.detail}" for part in state.components if part.state == "failed"]
        raise StackError(f"the stack is not ready ({'; '.join(failed)})", "See `signalbox status`")
    return state


async def _settle(made: Ground, tell: Tell) -> None:
    """The workload, its autoscaler, and both at rest at the minimum."""
    cluster, policy = made.cluster, made.policy
    for group in ("external.metrics.k8s.io", "metrics.k8s.io"):
        api = {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": f"v1beta1.{group}"},
        }
        await cluster.await_condition(api, "Available", READY_S)
    await cluster.apply(documents.deployment(policy, policy.minimum))
    await await_true(lambda: _all_ready(made), "the workload", READY_S)
    tell("applying what the compiler generated")
    await made.autoscaler.apply(cluster)


async def _all_ready(made: Ground) -> bool:
    made.plane.check()
    found = await made.cluster.get(path_of(documents.deployment(made.policy, 1)))
    return bool(found.get("status", {}).get("readyReplicas", 0) >= made.policy.minimum)
