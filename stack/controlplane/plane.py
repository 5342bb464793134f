"""The running control plane: etcd, API server, controllers, scheduler, kwok and KEDA, each a child process on loopback.

Owns their commands, ports, order, and their certain end: leaving the context ends them all, and the kernel ends them
when we are killed. Knows nothing of what is scaled.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import yaml

from stack.controlplane import documents
from stack.controlplane.certificates import LOCAL, MASTERS, Authority
from stack.controlplane.cluster import Cluster, await_true
from stack.controlplane.programs import FOLDER, Programs, custom_resources
from stack.errors import StackError
from stack.layout import LOOPBACK, Layout
from stack.native.launch import INHERITED
from stack.native.ports import is_free
from stack.native.processes import MARK, Child, last_words, start_child

# Before the offset. KEDA's adapter listens on all interfaces at `adapter-metrics`: it has no option for less.
PORTS = {
    **{"etcd": 12379, "etcd-peer": 12380, "apiserver": 16443, "controllers": 12257, "scheduler": 12259},
    **{"keda-metrics": 12080, "keda-probe": 12081, "keda-grpc": 12666, "adapter": 16444, "adapter-metrics": 12082},
    "usage": 16445,
}
READY_S = 120.0
GRACE_S = 5.0
USUAL_SYNC_S = 15.0  # of the horizontal pod autoscaler; the clock divides it
USUAL_CPU_INITIALISATION_S = 300.0

Tell = Callable[[str], None]


class ControlPlane:
    """A control plane that is up. `cluster` talks to it; `port` says where its parts listen."""

    def __init__(self, layout: Layout, programs: Programs, clock: float, tell: Tell) -> None:
        self.has_keda = "keda-operator" in programs
        self.folder = layout.state / "controlplane"
        self.authority_folder = self.folder / "certificates"
        self._layout, self._programs, self._clock, self._tell = layout, programs, clock, tell
        self._children: list[tuple[str, Child]] = []
        self.cluster: Cluster

    def port(self, name: str) -> int:
        """The port of one part."""
        return self._layout.port(PORTS[name])

    def certificate(self, name: str) -> tuple[Path, Path]:
        """The files of a certificate and its key."""
        return self.authority_folder / f"{name}.crt", self.authority_folder / f"{name}.key"

    def check(self) -> None:
        """Raises StackError when a part has ended."""
        for name, child in self._children:
            if child.process.returncode is not None:
                log = self._log(name)
                raise StackError(f"{name} ended: {last_words(log)}", f"See {log}")

    async def start(self) -> None:
        """Start everything, each when what it needs is ready. Raises StackError."""
        self._refuse_taken_ports()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(mode=0o700)
        self._certify()
        certificate, key = self.certificate("admin")
        url = f"https://{LOOPBACK}:{self.port('apiserver')}"
        self.cluster = Cluster(url, authority=self.authority, certificate=certificate, key=key)
        await self._start("etcd", self._etcd())
        await self._start("kube-apiserver", self._apiserver())
        await self._await("the API server", lambda: self.cluster.answers("/readyz"))
        for document in documents.ground():
            await self.cluster.apply(document)
        await self._start("kube-controller-manager", self._controllers())
        await self._start("kube-scheduler", self._scheduler())
        await self._start("kwok", self._kwok())
        if self.has_keda:
            await self._start_keda()
        for document in documents.metrics_apis(
            usage=self.port("usage"),
            adapter=self.port("adapter") if self.has_keda else None,
            authority=self.authority.read_bytes(),
        ):
            await self.cluster.apply(document)

    async def _start_keda(self) -> None:
        for path in custom_resources():
            await self.cluster.apply(yaml.safe_load(path.read_text()))
        await self._start("keda-operator", self._operator())
        await self._await("KEDA's metrics service", lambda: _listens(self.port("keda-grpc")))
        await self._start("keda-adapter", self._adapter())

    async def end(self) -> None:
        """End everything, the last first."""
        self._tell("ending the control plane")
        for _, child in reversed(self._children):
            await child.stop(signal.SIGTERM, GRACE_S)
        self._children.clear()
        if hasattr(self, "cluster"):
            await self.cluster.__aexit__()

    @property
    def authority(self) -> Path:
        """The certificate of who signed all the others."""
        return self.authority_folder / "ca.crt"

    @property
    def _kubeconfig(self) -> str:
        return str(self.folder / "kubeconfig")

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"  # not among the stack's logs, which go to Loki

    def _refuse_taken_ports(self) -> None:
        if taken := [self.port(name) for name in PORTS if not is_free(self.port(name))]:
            raise StackError(f"port {taken[0]} is taken", "Stop what listens there, or set SIGNALBOX_PORT_OFFSET")

    def _certify(self) -> None:
        authority = Authority(self.authority_folder)
        authority.issue("apiserver", common_name="kube-apiserver", hosts=(*LOCAL, "kubernetes.default.svc"))
        authority.issue("admin", common_name="admin", organisation=MASTERS)
        authority.issue("proxy", common_name="front-proxy")
        authority.issue("usage", common_name="usage", hosts=(*LOCAL, documents.USAGE_HOST))
        # One certificate with server and client use serves KEDA's operator and adapter; they want it under this name.
        authority.issue("tls", common_name="keda", hosts=(*LOCAL, documents.ADAPTER_HOST, documents.OPERATOR_HOST))
        authority.key_pair("accounts")
        certificate, key = self.certificate("admin")
        Path(self._kubeconfig).write_text(
            yaml.safe_dump(
                documents.kubeconfig(f"https://{LOOPBACK}:{self.port('apiserver')}", self.authority, certificate, key)
            )
        )

    async def _start(self, name: str, command: list[str]) -> None:
        self._tell(f"starting {name}")
        inherited = {key: value for key in INHERITED if (value := os.environ.get(key))}
        child = await start_child(
            [str(self._programs[command[0]]), *command[1:]],
            env={**inherited, **_ENVIRONMENT.get(name, {}), MARK: str(self._layout.state)},
            cwd=self.folder,
            log=self._log(name),
        )
        self._children.append((name, child))

    async def _await(self, what: str, look: Callable[[], object]) -> None:
        async def ready() -> object:
            self.check()
            return await look()  # type: ignore[misc]

        await await_true(ready, what, READY_S)

    def _etcd(self) -> list[str]:
        client, peer = (f"http://{LOOPBACK}:{self.port(name)}" for name in ("etcd", "etcd-peer"))
        return [
            *("etcd", "--name", "signalbox", "--data-dir", str(self.folder / "etcd"), "--unsafe-no-fsync"),
            *("--listen-client-urls", client, "--advertise-client-urls", client),
            *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
            *("--initial-cluster", f"signalbox={peer}", "--log-level", "warn"),
        ]

    def _apiserver(self) -> list[str]:
        (crt, key), (proxy_crt, proxy_key) = self.certificate("apiserver"), self.certificate("proxy")
        return [
            "kube-apiserver",
            f"--etcd-servers=http://{LOOPBACK}:{self.port('etcd')}",
            f"--bind-address={LOOPBACK}",
            f"--advertise-address={LOOPBACK}",
            f"--secure-port={self.port('apiserver')}",
            "--endpoint-reconciler-type=none",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--authorization-mode=RBAC",
            f"--tls-cert-file={crt}",
            f"--tls-private-key-file={key}",
            f"--client-ca-file={self.authority}",
            f"--service-account-key-file={self.authority_folder / 'accounts.pub'}",
            f"--service-account-signing-key-file={self.authority_folder / 'accounts.key'}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--requestheader-client-ca-file={self.authority}",
            "--requestheader-allowed-names=front-proxy",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--proxy-client-cert-file={proxy_crt}",
            f"--proxy-client-key-file={proxy_key}",
            "--enable-aggregator-routing=false",
        ]

    def _controllers(self) -> list[str]:
        return [
            "kube-controller-manager",
            f"--kubeconfig={self._kubeconfig}",
            f"--bind-address={LOOPBACK}",
            f"--secure-port={self.port('controllers')}",
            f"--service-account-private-key-file={self.authority_folder / 'accounts.key'}",
            f"--root-ca-file={self.authority}",
            "--leader-elect=false",
            "--use-service-account-credentials=true",
            f"--horizontal-pod-autoscaler-sync-period={USUAL_SYNC_S / self._clock:g}s",
            f"--horizontal-pod-autoscaler-cpu-initialization-period={USUAL_CPU_INITIALISATION_S / self._clock:g}s",
        ]

    def _scheduler(self) -> list[str]:
        return [
            "kube-scheduler",
            f"--kubeconfig={self._kubeconfig}",
            f"--bind-address={LOOPBACK}",
            f"--secure-port={self.port('scheduler')}",
            "--leader-elect=false",
        ]

    def _kwok(self) -> list[str]:
        stages = str(FOLDER / "stages.yaml")  # without any it ends at once
        return ["kwok", "--kubeconfig", self._kubeconfig, "--config", stages, "--manage-all-nodes=true"]

    def _operator(self) -> list[str]:
        return [
            "keda-operator",
            f"--kubeconfig={self._kubeconfig}",
            f"--cert-dir={self.authority_folder}",
            "--enable-cert-rotation=false",
            f"--metrics-bind-address={LOOPBACK}:{self.port('keda-metrics')}",
            f"--health-probe-bind-address={LOOPBACK}:{self.port('keda-probe')}",
            f"--metrics-service-bind-address={LOOPBACK}:{self.port('keda-grpc')}",
        ]

    def _adapter(self) -> list[str]:
        crt, key = self.certificate("tls")
        return [
            "keda-adapter",
            *(f"--{use}kubeconfig={self._kubeconfig}" for use in ("", "lister-", "authentication-", "authorization-")),
            f"--bind-address={LOOPBACK}",
            f"--secure-port={self.port('adapter')}",
            f"--port={self.port('adapter-metrics')}",
            f"--metrics-service-address=localhost:{self.port('keda-grpc')}",
            f"--cert-dir={self.authority_folder}",
            f"--client-ca-file={self.authority}",
            f"--tls-cert-file={crt}",
            f"--tls-private-key-file={key}",
        ]


_KEDA = {"WATCH_NAMESPACE": "", "POD_NAMESPACE": "keda", "KEDA_CLUSTER_OBJECT_NAMESPACE": "keda"}
_ENVIRONMENT = {"keda-operator": _KEDA, "keda-adapter": _KEDA}


@asynccontextmanager
async def control_plane(layout: Layout, programs: Programs, clock: float, tell: Tell) -> AsyncIterator[ControlPlane]:
    """A control plane for the length of the block."""
    plane = ControlPlane(layout, programs, clock, tell)
    try:
        await plane.start()
        yield plane
    finally:
        await asyncio.shield(plane.end())


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(LOOPBACK, port)
    except OSError:
        return False
    writer.close()
    return True
