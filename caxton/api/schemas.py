"""Schemas of the bodies: from the types where there is one, by hand for the message.

A message's JSON form is read by hand (``caxton.message.from_json``), so its schema is written by
hand too, with the ranges of ``caxton.types.BOUNDS``; a test holds the two together.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from caxton.api.bodies import MAX_BATCH
from caxton.api.health import Health, Readiness
from caxton.api.memory_schemas import MEMORY_BODIES, MEMORY_TYPES
from caxton.api.registry_schemas import REGISTRY_BODIES, REGISTRY_TYPES
from caxton.capability import CAPABILITY_ADDRESS
from caxton.message import Performative
from caxton.types import (
    AgentName,
    Bound,
    ContentLanguage,
    MaxRetries,
    MessagePriority,
    MessageTimeoutMs,
    OntologyName,
    ProtocolName,
)
from caxton.views import (
    Ack,
    AgentView,
    ConversationDetail,
    ConversationView,
    DeadLetterDetail,
    DeadLetterView,
    Event,
    NodeView,
)

__all__ = ["AgentPage", "ConversationPage", "DeadLetterPage", "components", "reference"]

_TEMPLATE: Final = "#/components/schemas/{name}"
_BASE64: Final = r"^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"
_TRACEPARENT: Final = r"^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$"


class AgentPage(msgspec.Struct, frozen=True):
    """A page of agents, by name."""

    items: list[AgentView]
    next_page_token: str
    """Empty on the last page."""


class ConversationPage(msgspec.Struct, frozen=True):
    """A page of conversations, the newest activity first."""

    items: list[ConversationView]
    next_page_token: str
    """Empty on the last page."""


class DeadLetterPage(msgspec.Struct, frozen=True):
    """A page of dead letters, the latest first."""

    items: list[DeadLetterView]
    next_page_token: str
    """Empty on the last page."""


def reference(name: str) -> dict[str, str]:
    """A reference to a component."""
    return {"$ref": _TEMPLATE.format(name=name)}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {**schema, "type": [schema["type"], "null"]}


def _text(bound: Bound[str]) -> dict[str, Any]:
    schema: dict[str, Any] = {
        "type": "string",
        "minLength": int(bound.low),
        "maxLength": int(bound.high),
    }
    if bound.pattern:
        schema["pattern"] = f"^{bound.pattern}$"
    return schema


def _number(bound: Bound[int]) -> dict[str, Any]:
    return {"type": "integer", "minimum": int(bound.low), "maximum": int(bound.high)}


_UUID: Final = {"type": "string", "format": "uuid"}
_TIME: Final = {"type": "string", "format": "date-time"}

_OPTIONS: Final = {
    "type": ["object", "null"],
    "additionalProperties": False,
    "properties": {
        "priority": {
            "enum": [
                *(one.name.lower() for one in MessagePriority),
                *(int(one) for one in MessagePriority),
            ],
            "default": "normal",
        },
        "timeout_ms": _or_null(_number(MessageTimeoutMs)),
        "require_receipt": {"type": "boolean", "default": False},
        "max_retries": {**_number(MaxRetries), "default": MaxRetries.default},
    },
}

_ADDRESS: Final = [
    {
        "required": ["receiver"],
        "properties": {"receiver": {"type": "string"}, "capability": {"type": "null"}},
    },
    {
        "required": ["capability"],
        "properties": {"capability": {"type": "string"}, "receiver": {"type": "null"}},
    },
]

_CONTENT: Final = [
    {"properties": {"content": {"type": "null"}}},
    {"properties": {"content_base64": {"type": "null"}}},
]


def _message() -> dict[str, Any]:
    return {
        "type": "object",
        "description": "A FIPA-ACL message (SC00061). Exactly one of receiver and capability, "
        "at most one of content and content_base64. Fields that are not given or null get their "
        "defaults.",
        "additionalProperties": False,
        "properties": {
            "performative": {
                "enum": [*(one.value for one in Performative), "query"],
                "description": "the communicative act (SC00037); case and _ for - do not matter",
                "default": "request",
            },
            "message_id": _or_null(_UUID),
            "conversation_id": _or_null(_UUID),
            "sender": {
                "type": ["string", "null"],
                "minLength": 1,
                "maxLength": int(AgentName.high),
                "description": "name or id of an agent or client",
            },
            "receiver": {
                "type": ["string", "null"],
                "minLength": 1,
                "maxLength": int(AgentName.high),
                "description": "an agent's name or id",
            },
            "capability": _or_null(_text(CAPABILITY_ADDRESS)),
            "content": {"description": "text, or any JSON value, which is sent as its JSON text"},
            "content_base64": {
                "type": ["string", "null"],
                "contentEncoding": "base64",
                "pattern": _BASE64,
                "description": "bytes that are not UTF-8 text",
            },
            "created_at": _or_null(_TIME),
            "reply_with": _or_null(_UUID),
            "in_reply_to": _or_null(_UUID),
            "reply_by": _or_null(_TIME),
            "language": _or_null(_text(ContentLanguage)),
            "ontology": _or_null(_text(OntologyName)),
            "protocol": _or_null(_text(ProtocolName)),
            "trace_context": {
                "type": ["object", "null"],
                "additionalProperties": False,
                "required": ["traceparent"],
                "properties": {"traceparent": {"type": "string", "pattern": _TRACEPARENT}},
            },
            "delivery_options": _OPTIONS,
            "parent_conversation_id": _or_null(_UUID),
        },
        "oneOf": _ADDRESS,
        "anyOf": _CONTENT,
    }


def _reply() -> dict[str, Any]:
    message = _message()
    properties = {
        **message["properties"],
        "sender_name": {"type": "string"},
        "receiver_name": {"type": "string"},
    }
    return {
        "type": "object",
        "description": "The acknowledgement, and the message that answers.",
        "required": ["message_id", "conversation_id", "durability", "shard", "duplicate", "reply"],
        "properties": {
            "message_id": _UUID,
            "conversation_id": _UUID,
            "durability": {"enum": ["disk", "process"]},
            "shard": {"type": "integer"},
            "duplicate": {"type": "boolean"},
            "reply": {
                "type": "object",
                "required": ["message_id", "performative", "sender", "sender_name"],
                "properties": properties,
            },
        },
    }


def _problem() -> dict[str, Any]:
    text = {"type": "string"}
    return {
        "type": "object",
        "description": "What went wrong (RFC 9457).",
        "required": [
            "type", "title", "status", "detail", "instance", "code", "trace_id", "retryable",
            "remedy",
        ],
        "properties": {
            "type": {**text, "format": "uri-reference"},
            "title": text,
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": text,
            "instance": {**text, "format": "uri-reference"},
            "code": {**text, "pattern": "^[A-Z_]+$", "description": "stable; see /docs/errors"},
            "trace_id": text,
            "retryable": {"type": "boolean"},
            "remedy": {**text, "description": "what to do next"},
            "fields": {"type": "object", "description": "the values in the detail"},
            "message_id": _UUID,
            "conversation_id": _UUID,
            "errors": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["detail", "value", "allowed"],
                    "properties": {
                        "pointer": {**text, "description": "JSON Pointer into the body"},
                        "in": {"enum": ["query", "path", "header"]},
                        "parameter": text,
                        "detail": text,
                    },
                },
            },
        },
    }  # fmt: skip


def components() -> dict[str, Any]:
    """All schemas by name."""
    types = [
        Ack, AgentPage, AgentView, ConversationDetail, ConversationPage, ConversationView,
        DeadLetterDetail, DeadLetterPage, DeadLetterView, Event,
        Health, NodeView, Readiness, *REGISTRY_TYPES, *MEMORY_TYPES,
    ]  # fmt: skip
    _, found = msgspec.json.schema_components(types, ref_template=_TEMPLATE)
    refused = {
        "type": "object",
        "required": ["error"],
        "properties": {"error": reference("Problem")},
    }
    return {
        **found,
        **REGISTRY_BODIES,
        **MEMORY_BODIES,
        "Message": _message(),
        "Reply": _reply(),
        "Problem": _problem(),
        "MessageBatch": {
            "type": "object",
            "additionalProperties": False,
            "required": ["messages"],
            "properties": {
                "messages": {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": MAX_BATCH,
                    "items": {
                        "anyOf": [
                            reference("Message"),
                            {"description": "anything else: has a problem for its outcome"},
                        ]
                    },
                }
            },
        },
        "BatchOutcome": {
            "type": "object",
            "required": ["items"],
            "properties": {
                "items": {
                    "type": "array",
                    "description": "one for each message, in order",
                    "items": {"oneOf": [reference("Ack"), refused]},
                }
            },
        },
        "ServerSentEvent": {
            "type": "object",
            "description": "one event of the stream, by its fields",
            "required": ["event", "data"],
            "properties": {
                "id": {"type": "string", "description": "for Last-Event-ID"},
                "event": {"type": "string", "description": "its type, or `lagged`"},
                "data": {
                    "type": "string",
                    "contentMediaType": "application/json",
                    "contentSchema": {"oneOf": [reference("Event"), {"maxProperties": 0}]},
                },
            },
        },
        "OpenApi": {"type": "object", "required": ["openapi", "info", "paths"]},
    }
