"""What can go wrong, and how a caller is told: problem details (RFC 9457) for every error.

Owns the kinds of domain error, their HTTP status, and the handlers that turn any exception into
``application/problem+json``. Knows no domain: nouns declare their own errors as subclasses of a kind.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any, ClassVar
from urllib.parse import quote

import orjson
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ExceptionHandler

from service import telemetry

MEDIA_TYPE = "application/problem+json"
# In a request's scope: headers that are to be on the answer, whatever it will be.
NOTED_HEADERS = "signalbox.headers"
# What a problem tells of is true now: no cache in between may go on telling it.
_NOT_KEPT = {"Cache-Control": "no-store"}


class ServiceError(Exception):
    """An error that the domain foresees. ``str(error)`` is shown to the caller, so it holds no secret.

    ``kind`` is the stable name that clients match on; it ends the problem's ``type``. ``reason`` is for metrics, spans
    and lines alone: why, where that is not for callers; a word of a short list.
    """

    status: ClassVar[HTTPStatus]
    kind: ClassVar[str]
    reason: str = ""
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
_ANYWHERE: Mapping[int, Mapping[str, str]] = {
    HTTPStatus.BAD_REQUEST: {"bad-request": "The request cannot be read."},
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: {"request-entity-too-large": "The request's body is too large."},
    HTTPStatus.UNPROCESSABLE_ENTITY: {"validation": "A field is missing, or is not what it has to be."},
    HTTPStatus.TOO_MANY_REQUESTS: {"too-many-requests": "The client has used up its quota for this route."},
    HTTPStatus.INTERNAL_SERVER_ERROR: {"internal": "The service failed."},
    HTTPStatus.SERVICE_UNAVAILABLE: {"unavailable": "Something that the request depends on does not answer."},
    HTTPStatus.GATEWAY_TIMEOUT: {"deadline-exceeded": "There was no time left for what was asked."},
}


class FieldError(BaseModel):
    """One field that failed validation. What the caller sent is not repeated."""

    location: str
    message: str


_EXAMPLE: dict[str, Any] = {
    "type": "urn:signalbox:problem:out-of-stock",
    "title": "Conflict",
    "status": 409,
    "detail": "product 7 is out of stock",
    "instance": "/v1/orders",
    "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    "request_id": "6f9619ff-8b86-d011-b42d-00cf4fc964ff",
}


class Problem(BaseModel):
    """The body of every error (RFC 9457), with the names under which it can be looked up."""

    model_config = ConfigDict(json_schema_extra={"example": _EXAMPLE})

    type: str
    title: str
    status: int
    detail: str
    instance: str
    trace_id: str | None
    request_id: str | None
    errors: list[FieldError] | None = None


def problem_responses(*errors: type[ServiceError]) -> dict[int | str, dict[str, Any]]:
    """OpenAPI entries for the problems that a route can answer with, those of every route among them."""
    kinds = {int(status): dict(told) for status, told in _ANYWHERE.items()}
    for error in errors:
        kinds.setdefault(error.status, {})[error.kind] = (error.__doc__ or "").partition("\n")[0]
    return {status: describe_problems(HTTPStatus(status), told) for status, told in kinds.items()}


def describe_problems(status: HTTPStatus, kinds: Mapping[str, str]) -> dict[str, Any]:
    """OpenAPI entry for the problems of one status: each kind, and what it means."""
    return {
        "description": "  \n".join(f"`{kind}`: {meaning}" for kind, meaning in kinds.items()),
        "content": {
            MEDIA_TYPE: {
                "schema": {"$ref": "#/components/schemas/Problem"},
                "examples": {
                    kind: {
                        "value": {
                            **_EXAMPLE,
                            "type": _type(kind),
                            "title": status.phrase,
                            "status": int(status),
                            "detail": meaning,
                        }
                    }
                    for kind, meaning in kinds.items()
                },
            }
        },
    }


def problem_response(
    request: Request,
    status: int,
    kind: str,
    detail: str,
    *,
    reason: str = "",
    errors: list[FieldError] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The answer that tells the caller about one problem; metrics, span and line tell us.

    ``kind`` ends the problem's ``type``. ``reason``: why, where that is not for callers.
    """
    telemetry.problem(kind, reason)
    problem = Problem(
        type=_type(kind),
        title=_title(status),
        status=status,
        detail=detail,
        instance=quote(request.scope["path"], safe="/:@!$&'()*+,;=~", errors="replace"),
        trace_id=telemetry.trace_id(),
        request_id=telemetry.request_id(),
        errors=errors,
    )
    body = problem.model_dump(exclude=None if errors else {"errors"})
    return Response(orjson.dumps(body), status, {**_NOT_KEPT, **(headers or {})}, MEDIA_TYPE)


def noted_headers(scope: Mapping[str, Any], status: int) -> list[tuple[bytes, bytes]]:
    """What was noted for the answer to this request; a problem says itself that it is not to be kept."""
    noted: list[tuple[bytes, bytes]] = scope.get(NOTED_HEADERS, [])
    return noted if status < HTTPStatus.BAD_REQUEST else [one for one in noted if one[0] != b"cache-control"]


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
    for known in _known_problems():  # they exist at zero, so that a first one is seen as an increase
        telemetry.metrics.problems.labels(*known)
    describe = app.openapi

    def describe_with_problems() -> dict[str, Any]:
        if app.openapi_schema:
            return app.openapi_schema
        document = describe()
        schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas.update({**schema.pop("$defs", {}), Problem.__name__: schema})
        return document

    app.openapi = describe_with_problems  # type: ignore[method-assign]  # FastAPI's documented way to extend it


def _known_problems() -> Iterator[tuple[str, str]]:
    """Kind and reason of what any route may answer, and of every error that this process is made of."""
    yield from ((kind, "") for told in _ANYWHERE.values() for kind in told)
    waiting = ServiceError.__subclasses__()
    while waiting:
        error = waiting.pop()
        waiting += error.__subclasses__()
        if error.__module__ != __name__:  # those here are kinds of kinds
            yield error.kind, error.reason


def _type(kind: str) -> str:
    return f"urn:signalbox:problem:{kind}"


def _kind(status: int) -> str:
    """The kind described for ``status``; else its phrase, which another version of Python may word otherwise."""
    described = next(iter(_ANYWHERE.get(status, ())), None)
    return described or _title(status).lower().replace(" ", "-").replace("'", "")


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
    return problem_response(request, error.status, error.kind, str(error), reason=error.reason, headers=error.headers)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(_allowed(request))
    kind = _kind(error.status_code)
    return problem_response(request, error.status_code, kind, str(error.detail), headers=headers)


def _allowed(request: Request) -> list[str]:
    """The methods that this path has routes for; the router names only those of the first. HEAD goes where GET does."""
    found = []
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        scope = {**request.scope, "method": method}
        if any(route.matches(scope)[0] is Match.FULL for route in request.app.routes):
            found += ["GET", "HEAD"] if method == "GET" else [method]
    return found


async def _on_invalid_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    fields = [FieldError(location=_location(entry["loc"]), message=entry["msg"]) for entry in error.errors()]
    detail = "; ".join(f"{field.location}: {field.message}" for field in fields[:3])
    return problem_response(request, HTTPStatus.UNPROCESSABLE_ENTITY, "validation", detail, errors=fields)


async def _on_unhandled(request: Request, error: Exception) -> Response:
    # The words of an unforeseen exception may hold anything: they go to the log (the door's middleware sees the
    # exception travel on), never to the caller. This is answered outside the middleware that adds what was noted.
    answer = problem_response(
        request, HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "the service failed; quote the trace id when you ask"
    )
    answer.raw_headers.extend(noted_headers(request.scope, answer.status_code))
    return answer
