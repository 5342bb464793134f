"""What the OpenAPI document says of every answer of the public API: headers, 304, and what the gateway may answer.

All of that is put on answers by one middleware for all routes, so it is described in one place as well. What only one
route answers with (``Location``) is written at the route, by the names in ``HEADERS``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI

from service.data.engines import DatabaseUnavailable
from service.edge.signin import IssuerUnavailable
from service.edge.versioning import Version
from service.errors import describe_problems

# What every route of the public API depends on.
UNAVAILABLE = (DatabaseUnavailable, IssuerUnavailable)

_TEXT = {"type": "string"}
HEADERS: Mapping[str, Mapping[str, Any]] = {
    "X-Trace-Id": {
        "description": "The trace of this request. Absent when the request never reached the service.",
        "schema": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
        "example": "4bf92f3577b34da6a3ce929d0e0e4736",
    },
    "X-Request-Id": {
        "description": "What this request is called in every log.",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
        "example": "6f9619ff-8b86-d011-b42d-00cf4fc964ff",
    },
    "Cache-Control": {"description": "Who may keep the answer.", "schema": _TEXT, "example": "private, no-cache"},
    "RateLimit-Policy": {
        "description": "The quota of a client for this route: so many requests in so many seconds.",
        "schema": _TEXT,
        "example": '"route";q=600;w=60',
    },
    "RateLimit": {
        "description": "What is left of it, and after how many seconds there is more. With what was counted.",
        "schema": _TEXT,
        "example": '"route";r=599;t=1',
    },
    "Deprecation": {
        "description": "Since when callers should move on (RFC 9745).",
        "schema": {"type": "string", "pattern": "^@[0-9]+$"},
        "example": "@1793491200",
    },
    "Sunset": {
        "description": "From when this version may be gone (RFC 8594).",
        "schema": _TEXT,
        "example": "Mon, 01 Nov 2027 00:00:00 GMT",
    },
    "Link": {
        "description": "The version to move on to.",
        "schema": _TEXT,
        "example": '</v2>; rel="successor-version"',
    },
    "ETag": {"description": "The state that was read, or made.", "schema": _TEXT, "example": '"3"'},
    "Vary": {
        "description": "Which headers of a request the answer depends on.",
        "schema": _TEXT,
        "example": "authorization",
    },
    "WWW-Authenticate": {
        "description": "How to sign in, and what was wrong (RFC 6750).",
        "schema": _TEXT,
        "example": 'Bearer realm="signalbox", error="invalid_token"',
    },
    "Retry-After": {
        "description": "After how many seconds it is worth trying again.",
        "schema": {"type": "integer", "minimum": 0},
        "example": 1,
    },
    "Location": {
        "description": "Where what was made is.",
        "schema": _TEXT,
        "example": "/v2/orders/0b8f7f0e-5a0c-4d5f-9a5e-2f6f3f0d7c11",
    },
    "Idempotency-Replayed": {
        "description": "With an Idempotency-Key: whether this is the answer to an earlier request with it.",
        "schema": {"type": "string", "enum": ["true", "false"]},
        "example": "false",
    },
    "Set-Cookie": {
        "description": "`last_write`: send it back, and you read what you wrote, from whichever replica.",
        "schema": _TEXT,
        "example": "last_write=1a2b3c; Path=/; Max-Age=300; HttpOnly; SameSite=Lax",
    },
}

# What stands for a path's parameters in examples.
_PARAMETER = re.compile(r"\{(\w+)\}")
_IN_PATHS = {"user_id": "7", "product_id": "42", "order_id": "0b8f7f0e-5a0c-4d5f-9a5e-2f6f3f0d7c11"}
_ALWAYS = ("X-Trace-Id", "X-Request-Id", "Cache-Control", "Vary", "RateLimit-Policy", "RateLimit")
_ENDING = ("Deprecation", "Sunset", "Link")
_BY_STATUS: Mapping[str, Sequence[str]] = {
    "304": ("ETag",),
    "401": ("WWW-Authenticate",),
    "403": ("WWW-Authenticate",),
    "409": ("Retry-After",),
    "429": ("Retry-After",),
    "503": ("Retry-After",),
}
_FROM_GATEWAY = {
    HTTPStatus.LENGTH_REQUIRED: {"length-required": "A body has to say how long it is."},
    HTTPStatus.BAD_GATEWAY: {"bad-gateway": "The service was lost while it worked on the request."},
}
_CONDITIONS = {
    "If-None-Match": "Entity tags of what the caller has: with one of them, or `*`, the answer is 304.",
    "If-Match": "Entity tags of what the caller wants to read: without one of them the answer is 412.",
}


def headers(*names: str) -> dict[str, Any]:
    """The ``headers`` entry of an answer that carries ``names``, for what only one route answers with."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def describe_answers(app: FastAPI, versions: Sequence[Version]) -> None:
    """Say in ``app``'s OpenAPI document what answers under ``versions`` have in common."""
    describe = app.openapi

    def describe_with_answers() -> dict[str, Any]:
        known = app.openapi_schema
        document = describe()
        if known is None:
            document.setdefault("components", {})["headers"] = dict(HEADERS)
            for version in versions:
                for path, operations in document["paths"].items():
                    if path.startswith(f"{version.prefix}/"):
                        for method, operation in operations.items():
                            _describe(path, operation, method, _ENDING if version.ends else ())
        return document

    app.openapi = describe_with_answers  # type: ignore[method-assign]  # FastAPI's documented way to extend it


def _describe(path: str, operation: dict[str, Any], method: str, more: Sequence[str]) -> None:
    answers: dict[str, dict[str, Any]] = operation["responses"]
    for status, kinds in _FROM_GATEWAY.items():
        answers.setdefault(str(int(status)), describe_problems(status, kinds))
    if method == "get":
        answers["304"] = {"description": "The caller has it already."}
        answers["412"] = describe_problems(
            HTTPStatus.PRECONDITION_FAILED, {"precondition-failed": "It is not in the state that If-Match names."}
        )
        answers["200"]["headers"] = headers("ETag")
        operation.setdefault("parameters", []).extend(
            {"name": name, "in": "header", "required": False, "schema": _TEXT, "description": said, "example": '"3"'}
            for name, said in _CONDITIONS.items()
        )
    for status, answer in answers.items():
        own = answer.get("headers", {})
        answer["headers"] = headers(*_ALWAYS, *more, *_BY_STATUS.get(status, ())) | own
        for content in answer.get("content", {}).values():
            for example in content.get("examples", {}).values():
                example["value"]["instance"] = _PARAMETER.sub(lambda found: _IN_PATHS[found[1]], path)
    operation["responses"] = dict(sorted(answers.items()))
