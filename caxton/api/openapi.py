"""The OpenAPI 3.1 document, made from the route table and the types."""

from __future__ import annotations

import functools
import re
from typing import Any

import msgspec

from caxton import __version__
from caxton.api.bodies import MAX_BATCH
from caxton.api.routes import ROUTES, Route
from caxton.message import Performative
from caxton.types import MaxRetries, MessageTimeoutMs
from caxton.views import Ack, AgentView, ConversationDetail, ConversationView, Event, NodeView

__all__ = ["document"]

_UUID = {"type": "string", "format": "uuid"}
_TIME = {"type": "string", "format": "date-time"}


def _message() -> dict[str, Any]:
    def text(longest: int) -> dict[str, Any]:
        return {"type": "string", "minLength": 1, "maxLength": longest}

    return {
        "type": "object",
        "description": "A FIPA-ACL message. Exactly one of receiver and capability.",
        "additionalProperties": False,
        "properties": {
            "performative": {
                "type": "string",
                "description": f"{', '.join(one.value for one in Performative)}; in any case",
                "default": "request",
            },
            "message_id": _UUID,
            "conversation_id": _UUID,
            "sender": _UUID,
            "receiver": {"type": "string", "description": "an agent's name or id"},
            "capability": text(100),
            "content": {"description": "text, or any JSON value"},
            "content_base64": {"type": "string", "contentEncoding": "base64"},
            "created_at": _TIME,
            "reply_with": _UUID,
            "in_reply_to": _UUID,
            "reply_by": _TIME,
            "language": text(50),
            "ontology": text(100),
            "protocol": text(100),
            "trace_context": {
                "type": "object",
                "additionalProperties": False,
                "properties": {"traceparent": {"type": "string"}},
            },
            "delivery_options": {
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    "priority": {"type": ["string", "integer"]},
                    "timeout_ms": {
                        "type": ["integer", "null"],
                        "minimum": MessageTimeoutMs.low,
                        "maximum": MessageTimeoutMs.high,
                    },
                    "require_receipt": {"type": "boolean"},
                    "max_retries": {
                        "type": "integer",
                        "minimum": MaxRetries.low,
                        "maximum": MaxRetries.high,
                    },
                },
            },
        },
    }


def _schemas() -> dict[str, Any]:
    types = [Ack, AgentView, ConversationDetail, ConversationView, Event, NodeView]
    _, components = msgspec.json.schema_components(
        types, ref_template="#/components/schemas/{name}"
    )
    message = {"$ref": "#/components/schemas/Message"}
    components["Message"] = _message()
    components["MessageBatch"] = {
        "type": "object",
        "additionalProperties": False,
        "required": ["messages"],
        "properties": {
            "messages": {"type": "array", "minItems": 1, "maxItems": MAX_BATCH, "items": message}
        },
    }
    components["Problem"] = {
        "type": "object",
        "description": "RFC 9457",
        "required": ["type", "title", "status", "detail", "instance", "code", "trace_id"],
        "properties": {
            **{
                name: {"type": "string"}
                for name in ("type", "title", "detail", "instance", "code", "trace_id", "remedy")
            },
            "status": {"type": "integer"},
            "retryable": {"type": "boolean"},
            "errors": {"type": "array", "items": {"type": "object"}},
        },
    }
    return components


def _good(route: Route) -> dict[str, Any]:
    if route.result is None:
        schema: dict[str, Any] = {} if route.media != "application/json" else {"type": "object"}
    else:
        schema = {"$ref": f"#/components/schemas/{route.result.__name__}"}
        if "{" not in route.path and route.result is not NodeView:
            schema = {
                "type": "object",
                "required": ["items", "next_page_token"],
                "properties": {
                    "items": {"type": "array", "items": schema},
                    "next_page_token": {"type": "string"},
                },
            }
    return {"description": route.summary, "content": {route.media: {"schema": schema}}}


def _operation(route: Route) -> dict[str, Any]:
    problem = {
        "description": "Problem",
        "content": {
            "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
        },
    }
    good = _good(route)
    responses = {str(route.status): good}
    for status in route.also:
        responses[str(status)] = good if status == 200 or "ready" in route.path else problem
    operation: dict[str, Any] = {
        "summary": route.summary,
        "operationId": f"{route.method.lower()}{re.sub(r'[^a-z0-9]+', '_', route.path)}",
        "responses": responses,
        "parameters": [
            {
                "name": name,
                "in": "query",
                "required": False,
                "description": text,
                "schema": {"type": "string"},
            }
            for name, text in route.query
        ]
        + [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in re.findall(r"{(\w+)}", route.path)
        ],
    }
    if route.body:
        schema = {"$ref": f"#/components/schemas/{route.body}"}
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schema}},
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
        "info": {"title": "Caxton", "version": __version__},
        "paths": paths,
        "components": {"schemas": _schemas()},
    }
