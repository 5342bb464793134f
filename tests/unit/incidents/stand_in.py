"""A system to break, on loopback: the HTTP faces of gateway, payments, Prometheus, Loki, Jaeger and the pager in one
server. A fault at payments makes orders fail, the failing ratio rise, and a page arrive; clearing it undoes that."""

from __future__ import annotations

import json
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
PARTS = ("gateway", "prometheus", "loki", "jaeger", "pager", "payments", "worker", "api-1", "api-2")
HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>{{ 7*7 }}"


def rfc3339(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def span(
    span_id: str, parent: str | None, process: str, name: str, start: int, took: int, **tags: Any
) -> dict[str, Any]:
    """A span as Jaeger's API writes one; times in microseconds."""
    references = [{"refType": "CHILD_OF", "traceID": TRACE_ID, "spanID": parent}] if parent else []
    return {
        "traceID": TRACE_ID,
        "spanID": span_id,
        "operationName": name,
        "references": references,
        "startTime": start,
        "duration": took,
        "tags": [{"key": key.replace("__", "."), "type": "string", "value": value} for key, value in tags.items()],
        "logs": [],
        "processID": process,
    }


def trace_document(at: float | None = None) -> dict[str, Any]:
    """gateway → api → payments, the last two failing."""
    start = int((at or time.time()) * 1e6)
    return {
        "traceID": TRACE_ID,
        "spans": [
            span("c3", "c2", "p3", "POST /v1/charges", start + 3_000, 2_000, span__kind="server", error=True),
            span("a1", None, "p1", "gateway", start, 9_000, span__kind="server"),
            span("b2", "a1", "p2", "POST /v1/orders", start + 1_000, 7_000, span__kind="server", error=True),
            span("c2", "b2", "p2", "POST", start + 2_500, 3_000, span__kind="client", error=True),
        ],
        "processes": {
            "p1": {"serviceName": "gateway", "tags": []},
            "p2": {"serviceName": "api", "tags": []},
            "p3": {"serviceName": "payments", "tags": []},
        },
    }


class StandIn:
    """The server and its knobs. `urls` has an address for every part."""

    def __init__(self) -> None:
        self.faults: dict[str, dict[str, Any]] = {}
        self.history: list[str] = []
        self.requests = 0
        self.pages: list[dict[str, Any]] = []
        self.pages_after_s: float | None = 0.3
        self.also_pages: list[str] = []
        self.resolves = True
        self.carries_trace = True
        self.ratio_when_broken = 0.3
        self.ratio_when_well = 0.0
        self.down: set[str] = set()
        self.heartbeat = True
        """Whether the Watchdog has ever reached the pager."""
        self.production = False
        self.delay_s = 0.0
        self.hostile = False
        self.stubborn = False
        """Faults can be set, and not be cleared."""
        self.watched = threading.Event()
        """Set when the pager was asked for pages since an onset: the gate is open."""
        self._broken_at: float | None = None
        self._lock = threading.Lock()
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                self._serve()

            do_POST = do_PUT = do_DELETE = do_GET

            def _serve(self) -> None:
                url = urlsplit(self.path)
                _, part, path = url.path.split("/", 2)
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                asked = {name: value[0] for name, value in parse_qs(url.query).items()}
                status, document = stand_in.answer(part, self.command, "/" + path, asked, body)
                answer = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.send_header("x-trace-id", TRACE_ID)
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.base = f"http://127.0.0.1:{self._server.server_port}"
        self.urls = {part: f"{self.base}/{part}" for part in PARTS}
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def broken(self) -> bool:
        return bool(self.faults)

    def answer(self, part: str, method: str, path: str, asked: dict[str, str], body: bytes) -> tuple[int, Any]:
        with self._lock:
            if part in self.down:
                return 503, {"detail": f"{part} is down"}
            if path.startswith("/internal/faults"):
                return self._switch(part, method, path, body)
            self._turn()
            return getattr(self, f"_{part.partition('-')[0]}")(path, asked)

    def _switch(self, part: str, method: str, path: str, body: bytes) -> tuple[int, Any]:
        if self.production:
            return 403, {"title": "Forbidden"}
        name = path.removeprefix("/internal/faults").strip("/")
        if method == "PUT":
            self.history.append(f"set {name} at {part}")
            self.faults[name] = json.loads(body)
            self._broken_at = time.time()
        elif method == "DELETE" and self.stubborn:
            return 500, {"title": "stuck"}
        elif method == "DELETE":
            self.history.append(f"clear {name} at {part}")
            self.faults.pop(name, None)
        known = ["charge-errors", "charge-latency"] if part == "payments" else []
        views = [{"name": one, "active": one in self.faults, "parameters": {}, "description": ""} for one in known]
        return 200, {"faults": views}

    def _turn(self) -> None:
        """What follows from the fault, in time."""
        now = time.time()
        if self.broken and self._broken_at and self.pages_after_s is not None:
            if now - self._broken_at >= self.pages_after_s and not any(p["state"] == "firing" for p in self.pages):
                self.page("CheckoutAvailabilityBurnPage")
                for alert in self.also_pages:
                    self.page(alert)
        elif not self.broken and self.resolves:
            for page in self.pages:
                if page["state"] == "firing" and page["mine"]:
                    page.update(state="resolved", resolved_at=rfc3339(now), updated_at=rfc3339(now))

    def page(self, alert: str, tier: str = "page", mine: bool = True) -> None:
        text = HOSTILE if self.hostile else "Checkout fails"
        self.pages.insert(
            0,
            {
                "id": f"{len(self.pages):016x}",
                "fingerprint": "f",
                "alert": alert,
                "tier": tier,
                "state": "firing",
                "service": "checkout",
                "slo": "checkout-availability",
                "summary": text,
                "description": text,
                "impact": text,
                "starts_at": rfc3339(time.time()),
                "received_at": rfc3339(time.time()),
                "updated_at": rfc3339(time.time()),
                "resolved_at": None,
                "budget_remaining": "97.3%",
                "trace_id": TRACE_ID if self.carries_trace else None,
                "links": {"runbook": f"{self.base}/pager/runbooks/{alert}", "trace": "javascript:alert(1)"},
                "labels": {"alertname": alert, "tier": tier},
                "annotations": {"summary": text},
                "mine": mine,
            },
        )

    # The parts.

    def _gateway(self, path: str, asked: dict[str, str]) -> tuple[int, Any]:
        self.requests += 1
        if self.delay_s:
            time.sleep(self.delay_s)
        return (500, {}) if self.broken and path == "/v1/orders" else (200, {})

    def _prometheus(self, path: str, asked: dict[str, str]) -> tuple[int, Any]:
        ratio = self.ratio_when_broken if self.broken else self.ratio_when_well
        values = {"ratio": ratio, "rate": 5.0, "vector(1)": 1.0}
        if self.heartbeat:
            values["max(signalbox_pager_heartbeat_age_seconds)"] = 3.0
        labels = {"instance": HOSTILE} if self.hostile else {}
        query = asked["query"]
        if path.endswith("/query_range"):
            start, end = float(asked["start"]), float(asked["end"])
            points = [[start + part * (end - start) / 4, str(part / 10)] for part in range(5)]
            points.append([end, "NaN"])
            return 200, _success("matrix", [{"metric": labels, "values": points}])
        if query == "bad syntax":
            return 400, {"status": "error", "error": "parse error"}
        known = [{"metric": labels, "value": [time.time(), str(values[query])]}] if query in values else []
        return 200, _success("vector", known)

    def _loki(self, path: str, asked: dict[str, str]) -> tuple[int, Any]:
        if "trace_id" not in asked["query"] and not self.broken:
            return 200, _success("streams", [])
        at = str(int(time.time() * 1e9))
        line = json.dumps({"message": HOSTILE if self.hostile else "charge refused", "severity": "ERROR"})
        values = [[at, line], [at, "not JSON"]]
        return 200, _success("streams", [{"stream": {"service_name": "payments"}, "values": values}])

    def _jaeger(self, path: str, asked: dict[str, str]) -> tuple[int, Any]:
        if path == f"/api/traces/{TRACE_ID}":
            return 200, {"data": [self._trace()]}
        if path == "/api/services":
            return 200, {"data": ["gateway", "api", "payments"]}
        if path == "/api/traces":
            return 200, {"data": [self._trace()] if self.broken else []}
        return 404, {"errors": [{"code": 404, "msg": "trace not found"}]}

    def _trace(self) -> dict[str, Any]:
        document = trace_document()
        if self.hostile:
            document["spans"][0]["operationName"] = HOSTILE
            document["spans"][0]["tags"].append({"key": HOSTILE, "type": "string", "value": HOSTILE})
        return document

    def _pager(self, path: str, asked: dict[str, str]) -> tuple[int, Any]:
        since = float(asked.get("since", 0))
        if since > 0:
            self.watched.set()
        recent = [
            page for page in self.pages if datetime.fromisoformat(page["received_at"]).timestamp() >= since - 1e-3
        ]
        return 200, {"pages": recent}


def _success(kind: str, result: list[Any]) -> dict[str, Any]:
    return {"status": "success", "data": {"resultType": kind, "result": result}}
