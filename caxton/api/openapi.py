"""The OpenAPI 3.1 document, made from the route table and the types."""

from __future__ import annotations

import functools
import re
from http import HTTPStatus
from typing import Any

import orjson

from caxton import __version__
from caxton.api.problems import MEDIA_TYPE
from caxton.api.routes import ROUTES, Good, Parameter, Route
from caxton.api.schemas import components, reference

__all__ = ["COMMON", "document", "document_bytes"]

COMMON = (403, 422, 500, 503)
"""Problems that every route can answer with."""

_REQUEST_ID = {
    "description": "the trace id: finds the request in logs and traces",
    "schema": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
}
_RETRY_AFTER = {
    "description": "seconds after which to try again, when that can help",
    "schema": {"type": "string", "pattern": "^[1-9][0-9]*$"},
}


def _good(one: Good) -> dict[str, Any]:
    schema: dict[str, Any] = reference(one.schema) if one.schema else {"type": "string"}
    return {
        "description": one.description,
        "headers": {"X-Request-Id": _REQUEST_ID},
        "content": {one.media: {"schema": schema}},
    }


def _problem(status: int) -> dict[str, Any]:
    headers = {"X-Request-Id": _REQUEST_ID}
    if status in (429, 503, 507):
        headers["Retry-After"] = _RETRY_AFTER
    return {
        "description": HTTPStatus(status).phrase,
        "headers": headers,
        "content": {MEDIA_TYPE: {"schema": reference("Problem")}},
    }


def _responses(route: Route) -> dict[str, Any]:
    found = {status: _problem(status) for status in (*COMMON, *route.problems)}
    for one in route.good:
        described = _good(one)
        if one.status in found:
            described["content"] |= found[one.status]["content"]
        found[one.status] = described
    return {str(status): found[status] for status in sorted(found)}


def _parameter(one: Parameter) -> dict[str, Any]:
    return {
        "name": one.name,
        "in": one.where,
        "required": one.required or one.where == "path",
        "description": one.description,
        "schema": one.schema,
    }


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": route.summary,
        "operationId": f"{route.method.lower()}{re.sub(r'[^a-z0-9]+', '_', route.path)}".strip("_"),
        "parameters": [_parameter(one) for one in route.parameters],
        "responses": _responses(route),
    }
    if route.body:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": reference(route.body)}},
        }
    return operation


@functools.cache
def document() -> dict[str, Any]:
    """The whole document."""
    paths: dict[str, Any] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Caxton",
            "version": __version__,
            "description": "Errors are problem documents (RFC 9457); /docs/errors lists the codes.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": components()},
    }


@functools.cache
def document_bytes() -> bytes:
    """The document as it is served."""
    return orjson.dumps(document())
