"""Problem documents (RFC 9457): the one shape of every error."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import quote

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from caxton.errors import CaxtonError, MethodNotAllowed, NotFound

__all__ = ["MEDIA_TYPE", "problem", "problem_here", "respond", "wrong_request"]

MEDIA_TYPE = "application/problem+json"
_ONWARD = ("message_id", "conversation_id")
"""Fields of an error that a caller acts on; they are members of the document too."""
_ELSEWHERE = ("query", "path", "header")
"""First words of the names of fields that are not in the body."""
_LATER = (429, 503, 507)
"""Statuses for which Retry-After is told, when trying again can help."""


def _place(field: str, base: str) -> dict[str, str]:
    """Where a field is: a JSON Pointer (RFC 6901) into the body, or a parameter's name."""
    first, _, rest = field.partition(".")
    if first in _ELSEWHERE and rest:
        return {"in": first, "parameter": rest}
    if field == "body":
        return {"pointer": f"#{base}"}
    steps = field.replace("~", "~0").replace("/", "~1").split(".")
    return {"pointer": f"#{base}/" + "/".join(steps)}


def problem(error: CaxtonError, instance: str, trace_id: str, base: str = "") -> dict[str, Any]:
    """The problem document of an error.

    Args:
        error: what happened.
        instance: path of the request.
        trace_id: finds it in the logs.
        base: JSON Pointer to the part of the body that the error is about.
    """
    fields = {key: value for key, value in error.fields.items() if value is not None}
    body: dict[str, Any] = {
        "type": f"/docs/errors#{error.code}",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "instance": instance,
        "code": error.code,
        "trace_id": trace_id,
        "retryable": error.retryable,
        "remedy": error.remedy,
        "fields": fields,
    }
    if "field" in fields:
        value = fields.get("value", fields.get("size"))
        allowed = fields.get("allowed", fields.get("limit"))
        place = _place(str(fields["field"]), base)
        body["errors"] = [{**place, "detail": error.detail, "value": value, "allowed": allowed}]
    for name in _ONWARD:
        if name in fields:
            body[name] = fields[name]
    return body


def problem_here(scope: Scope, error: CaxtonError, base: str = "") -> dict[str, Any]:
    """The problem document of an error that this request met."""
    return problem(error, quote(scope["path"]), scope["caxton.trace_id"], base)


def respond(scope: Scope, error: CaxtonError, headers: Mapping[str, str] | None = None) -> Response:
    """The response for an error."""
    told = dict(headers or {})
    if error.retryable and error.status in _LATER:
        after_ms = error.fields.get("retry_after_ms")
        seconds = math.ceil(after_ms / 1_000) if isinstance(after_ms, int | float) else 1
        told["Retry-After"] = str(max(1, seconds))
    body = orjson.dumps(problem_here(scope, error), default=str)
    return Response(body, error.status, told, MEDIA_TYPE)


async def wrong_request(request: Request, error: Exception) -> Response:
    """An unknown path or method, as a problem."""
    scope = request.scope
    unmatched = cast("HTTPException", error)
    headers = unmatched.headers or {}
    if unmatched.status_code == 405:
        allowed = headers.get("Allow", "")
        return respond(scope, MethodNotAllowed(method=request.method, allowed=allowed), headers)
    return respond(scope, NotFound(kind="resource", id=scope["path"]), headers)
