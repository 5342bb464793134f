"""Plays the kubelet: pods of a Deployment become replicas of the running stack, and pods say what the replicas say.

Owns which pod stands for which replica. As many pods as there are, so many replicas are wished for; the pod of a
replica that is ready is marked, and kwok makes it Ready (`stages.yaml`). Replicas are numbered and the highest number
goes first, so the pods that stay are numbered anew when one goes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from datetime import UTC, datetime

from stack.components import API
from stack.controlplane.cluster import Cluster
from stack.controlplane.usage import Meter, PodUsage
from stack.errors import StackError
from stack.layout import Layout
from stack.native import control
from stack.state import StackState

MARKED = "signalbox.dev/process"
LOOK_INTERVAL_S = 0.5

log = logging.getLogger("kubelet")


class Kubelet:
    """Keeps pods of one workload and the replicas of the stack in step while `run` runs."""

    def __init__(self, layout: Layout, cluster: Cluster, namespace: str, app: str) -> None:
        self._layout, self._cluster = layout, cluster
        self._namespace, self._app = namespace, app
        self._places: dict[str, int] = {}  # name of a pod → number of its replica
        self._wished = 0
        self._meter = Meter()
        self.ready = 0
        self.usage: list[PodUsage] = []
        self.trouble: str | None = None  # why the last round did not succeed

    async def run(self) -> None:
        """Look, and bring both sides into step, until cancelled."""
        while True:
            try:
                await self._round()
                self.trouble = None
            except (StackError, OSError) as error:
                self.trouble = str(error)
                log.warning("%s", error)
            await asyncio.sleep(LOOK_INTERVAL_S)

    async def _round(self) -> None:
        answer = await self._cluster.get(f"/api/v1/namespaces/{self._namespace}/pods", labelSelector=f"app={self._app}")
        pods = {
            pod["metadata"]["name"]: pod["metadata"].get("annotations", {}).get(MARKED, "")
            for pod in answer["items"]
            if "deletionTimestamp" not in pod["metadata"] and pod["spec"].get("nodeName")
        }
        self._places = numbered(self._places, list(pods))
        if pods and len(pods) != self._wished:
            await asyncio.to_thread(control.bring_up, self._layout, None, len(pods), starter="")
            self._wished = len(pods)
        state = control.current_state(self._layout)
        running = _running(state)
        self.ready = len(running)
        self._meter.read({number: pid for number, pid in running.items()})
        now = datetime.now(UTC)
        self.usage = [
            PodUsage(name, self._namespace, self._app, now, *figures)
            for name, number in self._places.items()
            if (figures := self._meter.figures(number)) is not None
        ]
        for name, marked in pods.items():
            said = "ready" if self._places[name] in running else "starting"
            if said != marked:
                change = {"metadata": {"annotations": {MARKED: said}}}
                await self._cluster.merge(f"/api/v1/namespaces/{self._namespace}/pods/{name}", change)


def numbered(places: Mapping[str, int], pods: list[str]) -> dict[str, int]:
    """Each pod with a number from 1 to as many as there are; whoever has one that still exists keeps it."""
    kept = {pod: number for pod, number in places.items() if pod in pods and number <= len(pods)}
    free = iter(sorted(set(range(1, len(pods) + 1)) - set(kept.values())))
    return {pod: kept[pod] if pod in kept else next(free) for pod in pods}


def _running(state: StackState | None) -> dict[int, int]:
    """The pid of each replica that is ready, by its number."""
    parts = state.components if state else ()
    return {
        int(part.name.removeprefix(f"{API}-")): part.pid
        for part in parts
        if part.name.startswith(f"{API}-") and part.state == "ready" and part.pid
    }
