"""A stand-in for an API server that takes whatever kubectl applies, and remembers it.

It knows no kind of its own: its discovery tells of those that the given manifests have.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import BaseServer
from threading import Thread
from typing import Any

import yaml

Manifest = dict[str, Any]


class ApiServer(ThreadingHTTPServer):
    """`applied` is what was sent by server-side apply, in order."""

    def __init__(self, manifests: Iterable[Manifest]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.applied: list[Manifest] = []
        self.kinds = {(one["apiVersion"], one["kind"], "namespace" in one["metadata"]) for one in manifests}

    def kubeconfig(self, folder: Path) -> Path:
        """A file that leads kubectl here and nowhere else."""
        address = f"http://127.0.0.1:{self.server_address[1]}"
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "clusters": [{"name": "here", "cluster": {"server": address}}],
            "users": [{"name": "me", "user": {}}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
        }
        path = folder / "kubeconfig"
        path.write_text(json.dumps(document))
        return path

    def discovery(self, path: str) -> Manifest | None:
        """What is answered below `/api` and `/apis`; None for anything else."""
        groups = sorted({version for version, _, _ in self.kinds if "/" in version})
        match path.strip("/").split("/"):
            case ["api"]:
                return {"kind": "APIVersions", "versions": ["v1"]}
            case ["apis"]:
                named = [{"groupVersion": one, "version": one.partition("/")[2]} for one in groups]
                listed = [
                    {"name": one["groupVersion"].partition("/")[0], "versions": [one], "preferredVersion": one}
                    for one in named
                ]
                return {"kind": "APIGroupList", "apiVersion": "v1", "groups": listed}
            case ["api", "v1"]:
                return self._resources("v1")
            case ["apis", group, version] if f"{group}/{version}" in groups:
                return self._resources(f"{group}/{version}")
        return None

    def _resources(self, wanted: str) -> Manifest:
        found = [
            {
                "name": _plural(kind),
                "singularName": kind.lower(),
                "namespaced": namespaced,
                "kind": kind,
                "verbs": ["get", "patch", "create"],
            }
            for version, kind, namespaced in sorted(self.kinds)
            if version == wanted
        ]
        return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": wanted, "resources": found}


class Handler(BaseHTTPRequestHandler):
    server: ApiServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        found = self.server.discovery(self.path.partition("?")[0])
        self._answer(200 if found else 404, found or {"kind": "Status", "apiVersion": "v1", "status": "Failure"})

    def do_PATCH(self) -> None:
        assert self.headers["content-type"] == "application/apply-patch+yaml", self.headers["content-type"]
        manifest = yaml.safe_load(self.rfile.read(int(self.headers["content-length"])))
        self.server.applied.append(manifest)
        self._answer(200, {**manifest, "metadata": {**manifest["metadata"], "uid": "0c5d", "resourceVersion": "1"}})

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""

    def _answer(self, status: int, document: Manifest) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _plural(kind: str) -> str:
    return kind.lower()[:-1] + "ies" if kind.endswith("y") else f"{kind.lower()}s"


@contextmanager
def serve(manifests: Iterable[Manifest]) -> Iterator[ApiServer]:
    with ApiServer(manifests) as server, answering(server):
        yield server


@contextmanager
def answering(server: BaseServer) -> Iterator[None]:
    """The server answers, in a thread of its own."""
    thread = Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
