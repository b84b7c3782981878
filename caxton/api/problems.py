"""Problem documents (RFC 9457): the one shape of every error."""

from __future__ import annotations

import logging
import secrets
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from caxton.errors import CaxtonError, InternalError, NotFound, ValidationError

__all__ = ["MEDIA_TYPE", "problem", "respond", "trace_of", "unexpected", "wrong_request"]

logger = logging.getLogger("caxton.api")

MEDIA_TYPE = "application/problem+json"
_ONWARD = ("message_id", "conversation_id")
"""Fields of an error that a caller acts on."""


def trace_of(request: Request) -> str:
    """The trace id of a request: that of its ``traceparent``, or a new one."""
    found: str | None = request.scope.get("caxton_trace")
    if found is None:
        parts = request.headers.get("traceparent", "").split("-")
        known = len(parts) == 4 and len(parts[1]) == 32 and parts[1].strip("0123456789abcdef") == ""
        found = parts[1] if known and parts[1] != "0" * 32 else secrets.token_hex(16)
        request.scope["caxton_trace"] = found
    return found


def problem(error: CaxtonError, instance: str, trace_id: str) -> dict[str, Any]:
    """The problem document of an error."""
    body: dict[str, Any] = {
        "type": f"/docs/errors#{error.code}",
        "title": error.title,
        "status": error.status,
        "detail": str(error),
        "instance": instance,
        "code": error.code,
        "trace_id": trace_id,
        "retryable": error.retryable,
        "remedy": error.remedy,
        "fields": {key: value for key, value in error.fields.items() if value is not None},
    }
    if isinstance(error, ValidationError):
        pointer = "/" + str(error.fields["field"]).replace(".", "/")
        body["errors"] = [
            {
                "pointer": pointer,
                "detail": str(error),
                "value": error.fields["value"],
                "allowed": error.fields["allowed"],
            }
        ]
    for name in _ONWARD:
        if name in error.fields:
            body[name] = error.fields[name]
    return body


def respond(request: Request, error: CaxtonError) -> Response:
    """The response for an error."""
    trace_id = trace_of(request)
    headers = {"X-Request-Id": trace_id}
    if error.retryable and error.status in (429, 503, 507):
        headers["Retry-After"] = "1"
    body = orjson.dumps(problem(error, request.url.path, trace_id), default=str)
    return Response(body, error.status, headers, MEDIA_TYPE)


async def unexpected(request: Request, error: Exception) -> Response:
    """A fault of ours: logged with its trace id, nothing of it told."""
    trace_id = trace_of(request)
    logger.error("request %s %s failed, trace %s", request.method, request.url.path, trace_id,
                 exc_info=error)  # fmt: skip
    return respond(request, InternalError(reason="the node failed on this request"))


async def wrong_request(request: Request, error: Exception) -> Response:
    """An unknown path or method, as a problem."""
    if not isinstance(error, HTTPException):
        return await unexpected(request, error)
    if error.status_code == 405:
        failure: CaxtonError = _MethodNotAllowed(
            method=request.method, allowed=(error.headers or {}).get("Allow", "others")
        )
    else:
        failure = NotFound(kind="resource", id=request.url.path)
    response = respond(request, failure)
    for name, value in (error.headers or {}).items():
        response.headers[name] = value
    return response


class _MethodNotAllowed(CaxtonError):
    """The resource does not take this method."""

    code = "METHOD_NOT_ALLOWED"
    status = 405
    title = "Method not allowed"
    text = "{method} given, {allowed} allowed"
    remedy = "See the routes at /openapi.json."
