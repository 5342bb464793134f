"""What can go wrong, and how a caller is told: problem details (RFC 9457) for every error.

Owns the kinds of domain error, their HTTP status, and the handlers that turn any exception into
``application/problem+json``. Knows no domain: nouns declare their own errors as subclasses of a kind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, ClassVar

import orjson
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ExceptionHandler

from service import telemetry

MEDIA_TYPE = "application/problem+json"


class ServiceError(Exception):
    """An error that the domain foresees. ``str(error)`` is shown to the caller, so it holds no secret.

    ``kind`` is the stable name that clients match on; it ends the problem's ``type``.
    """

    status: ClassVar[HTTPStatus]
    kind: ClassVar[str]
    headers: Mapping[str, str] = {}


class NotFound(ServiceError):
    """What was asked for does not exist."""

    status = HTTPStatus.NOT_FOUND
    kind = "not-found"


class Unprocessable(ServiceError):
    """The request is well formed, but refers to something that makes no sense."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY
    kind = "unprocessable"


class Conflict(ServiceError):
    """The request does not fit the present state of things."""

    status = HTTPStatus.CONFLICT
    kind = "conflict"


class Forbidden(ServiceError):
    """The request is understood and refused."""

    status = HTTPStatus.FORBIDDEN
    kind = "forbidden"


class Refused(ServiceError):
    """The payment was refused."""

    status = HTTPStatus.PAYMENT_REQUIRED
    kind = "refused"


class Unavailable(ServiceError):
    """Something that the request depends on does not answer. The caller may try again."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    kind = "unavailable"
    headers: Mapping[str, str] = {"Retry-After": "1"}


# What any route may answer: it is malformed, too large, too often, or ours to mend.
_ANYWHERE: Mapping[HTTPStatus, Sequence[str]] = {
    HTTPStatus.BAD_REQUEST: ["bad-request"],
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: ["request-entity-too-large"],
    HTTPStatus.UNPROCESSABLE_ENTITY: ["validation"],
    HTTPStatus.TOO_MANY_REQUESTS: ["too-many-requests"],
    HTTPStatus.INTERNAL_SERVER_ERROR: ["internal"],
    HTTPStatus.SERVICE_UNAVAILABLE: ["unavailable"],
}


class FieldError(BaseModel):
    """One field that failed validation. What the caller sent is not repeated."""

    location: str
    message: str


class Problem(BaseModel):
    """The body of every error (RFC 9457), with the trace id under which it can be looked up."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "type": "urn:signalbox:problem:out-of-stock",
                "title": "Conflict",
                "status": 409,
                "detail": "product 7 is out of stock",
                "instance": "/v1/orders",
                "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
            }
        }
    )

    type: str
    title: str
    status: int
    detail: str
    instance: str
    trace_id: str | None
    errors: list[FieldError] | None = None


def problem_responses(*errors: type[ServiceError]) -> dict[int | str, dict[str, Any]]:
    """OpenAPI entries for the problems that a route can answer with, those of every route among them."""
    kinds: dict[int, list[str]] = {int(status): list(names) for status, names in _ANYWHERE.items()}
    for error in errors:
        kinds.setdefault(error.status, []).append(error.kind)
    return {
        int(status): {
            "description": ", ".join(names),
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status, names in kinds.items()
    }


def problem_response(
    request: Request,
    status: int,
    kind: str,
    detail: str,
    *,
    errors: list[FieldError] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The answer that tells the caller about one problem. ``kind`` ends the problem's ``type``."""
    problem = Problem(
        type=f"urn:signalbox:problem:{kind}",
        title=_title(status),
        status=status,
        detail=detail,
        instance=request.scope["path"],
        trace_id=telemetry.trace_id(),
        errors=errors,
    )
    body = problem.model_dump(exclude=None if errors else {"errors"})
    return Response(orjson.dumps(body), status, headers, MEDIA_TYPE)


def install_error_handlers(app: FastAPI) -> None:
    """Make every error that ``app`` answers with a problem, and say so in its OpenAPI document."""
    handlers: dict[type[Exception], ExceptionHandler] = {
        ServiceError: _on_service_error,
        HTTPException: _on_http_exception,
        RequestValidationError: _on_invalid_request,
        Exception: _on_unhandled,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)
    describe = app.openapi

    def describe_with_problems() -> dict[str, Any]:
        document = describe()
        schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas.update({**schema.pop("$defs", {}), Problem.__name__: schema})
        return document

    app.openapi = describe_with_problems  # type: ignore[method-assign]  # FastAPI's documented way to extend it


def _title(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def _location(path: Sequence[object]) -> str:
    # A key of the caller's may be any text that JSON allows, lone surrogates and megabytes included.
    return ".".join(str(part) for part in path)[:200].encode("utf-8", "replace").decode()


async def _on_service_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)
    return problem_response(request, error.status, error.kind, str(error), headers=error.headers)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kind = _title(error.status_code).lower().replace(" ", "-").replace("'", "")
    return problem_response(request, error.status_code, kind, str(error.detail), headers=error.headers)


async def _on_invalid_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    fields = [FieldError(location=_location(entry["loc"]), message=entry["msg"]) for entry in error.errors()]
    detail = "; ".join(f"{field.location}: {field.message}" for field in fields[:3])
    return problem_response(request, HTTPStatus.UNPROCESSABLE_ENTITY, "validation", detail, errors=fields)


async def _on_unhandled(request: Request, error: Exception) -> Response:
    # The words of an unforeseen exception may hold anything: they go to the log (the door's middleware sees the
    # exception travel on), never to the caller.
    return problem_response(
        request, HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "the service failed; quote the trace id when you ask"
    )
