"""The faults over HTTP, in the form that the services' own faults have, and as a metric and a log line each.

Owns the routes, the guard and the telling. Knows no fault.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import AsyncIterator, Coroutine, Iterable
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from stack.sabotage.certificate import TlsEndpoint
from stack.sabotage.fault import Fault, Parameters, Refused
from stack.sabotage.hands import HandsOnHost
from stack.sabotage.ledger import Ledger, Unknown

BASE = "/internal/faults"
ORDERS = "/internal/orders"
ORDER_WAIT_S = 20.0  # how long a question for orders is held open


def build_app(
    faults: Iterable[Fault],
    path: Path,
    *,
    environment: str,
    endpoint: TlsEndpoint | None = None,
    hands: HandsOnHost | None = None,
) -> Starlette:
    """The application; what is on is kept at `path`. Outside development every change is refused.

    With `hands`, whoever carries out their orders asks for them here.
    """

    def tell(name: str, parameters: Parameters | None) -> None:
        _write_line(name, parameters, environment)

    site = _Site(Ledger(faults, path, tell), allowed=environment == "development", endpoint=endpoint)
    routes = [
        Route("/readyz", site.ready),
        Route("/metrics", site.metrics),
        Route(BASE, site.list_faults, methods=["GET"]),
        Route(BASE, site.switch_all_off, methods=["DELETE"]),
        Route(f"{BASE}/{{name}}", site.switch_on, methods=["PUT"]),
        Route(f"{BASE}/{{name}}", site.switch_off, methods=["DELETE"]),
    ]
    if hands is not None:
        counter = _Counter(hands)
        routes += [
            Route(ORDERS, counter.next_order, methods=["GET"]),
            Route(f"{ORDERS}/{{number:int}}", counter.take_answer, methods=["PUT"]),
        ]
    return Starlette(routes=routes, lifespan=site.lifespan)


class _Site:
    """The routes over one ledger."""

    def __init__(self, ledger: Ledger, *, allowed: bool, endpoint: TlsEndpoint | None) -> None:
        self._ledger, self._allowed, self._endpoint = ledger, allowed, endpoint

    @contextlib.asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as parts:
            if self._endpoint is not None:
                await parts.enter_async_context(self._endpoint.serving())
            self._ledger.restore()  # in the background: who undoes may have to ask here first
            yield
            await self._ledger.switch_all_off()

    async def list_faults(self, request: Request) -> Response:
        async def nothing() -> None:
            return None

        return await self._answer(nothing())

    async def switch_on(self, request: Request) -> Response:
        body = await request.body()

        async def change() -> None:
            given = json.loads(body or b"{}")
            if not isinstance(given, dict):
                raise ValueError("the parameters are not a JSON object")
            await self._ledger.switch_on(request.path_params["name"], given)

        return await self._answer(change())

    async def switch_off(self, request: Request) -> Response:
        return await self._answer(self._ledger.switch_off(request.path_params["name"]))

    async def switch_all_off(self, request: Request) -> Response:
        return await self._answer(self._ledger.switch_all_off())

    async def metrics(self, request: Request) -> Response:
        active, known = self._ledger.active, self._ledger.known
        lines = ["# HELP signalbox_fault_active 1 while a fault is switched on.", "# TYPE signalbox_fault_active gauge"]
        lines += [f'signalbox_fault_active{{fault="{name}"}} {int(name in active)}' for name in known]
        return PlainTextResponse("\n".join(lines) + "\n", media_type="text/plain; version=0.0.4")

    async def ready(self, request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _answer(self, change: Coroutine[Any, Any, None]) -> Response:
        """Carry out a change and show every fault; a refusal says why."""
        if not self._allowed:
            change.close()
            return _problem(HTTPStatus.FORBIDDEN, "faults can be changed in development only")
        try:
            await change
        except Unknown as error:
            return _problem(HTTPStatus.NOT_FOUND, str(error))
        except ValueError as error:  # pydantic's among them
            return _problem(HTTPStatus.UNPROCESSABLE_ENTITY, _words(error))
        except (Refused, TimeoutError, OSError) as error:
            return _problem(HTTPStatus.CONFLICT, str(error) or type(error).__name__)
        return JSONResponse({"faults": [_view(self._ledger, fault) for fault in self._ledger.known.values()]})


def _view(ledger: Ledger, fault: Fault) -> dict[str, Any]:
    entry = ledger.active.get(fault.name)
    parameters = entry.parameters.model_dump(exclude_none=True) if entry else {}
    return {
        "name": fault.name,
        "active": entry is not None,
        "parameters": parameters,
        "description": fault.description,
    }


def _words(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(f"{'.'.join(map(str, one['loc'])) or 'body'}: {one['msg']}" for one in error.errors())
    return f"not JSON: {error}"


class _Counter:
    """Where the host fetches its orders and says what came of them."""

    def __init__(self, hands: HandsOnHost) -> None:
        self._hands = hands

    async def next_order(self, request: Request) -> Response:
        order = await self._hands.take(ORDER_WAIT_S)
        return JSONResponse(order.document()) if order else Response(status_code=HTTPStatus.NO_CONTENT)

    async def take_answer(self, request: Request) -> Response:
        try:
            problem = str(json.loads(await request.body())["problem"])
        except (ValueError, KeyError, TypeError):
            return _problem(HTTPStatus.UNPROCESSABLE_ENTITY, "the answer is a JSON object with a `problem`")
        self._hands.answer(request.path_params["number"], problem)
        return Response(status_code=HTTPStatus.NO_CONTENT)


def _problem(status: HTTPStatus, detail: str) -> Response:
    document = {"type": "about:blank", "title": status.phrase, "status": int(status), "detail": detail}
    return JSONResponse(document, status_code=int(status), media_type="application/problem+json")


def _write_line(name: str, parameters: Parameters | None, environment: str) -> None:
    """One line in the form of the services' own, so that the change stands in Loki beside theirs."""
    line: dict[str, Any] = {
        "timestamp": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        "severity": "INFO",
        "message": "fault.changed",
        "service.name": "faults",
        "service.namespace": "signalbox",
        "deployment.environment.name": environment,
        "fault.name": name,
        "fault.active": parameters is not None,
    }
    if parameters is not None:
        line |= {f"fault.parameters.{key}": value for key, value in parameters.model_dump(exclude_none=True).items()}
    sys.stdout.write(json.dumps(line, separators=(",", ":")) + "\n")
    sys.stdout.flush()
