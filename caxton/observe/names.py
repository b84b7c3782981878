"""Names in traces: OpenTelemetry's where it has one, ours under ``caxton.`` where it has none.

Source: OpenTelemetry semantic conventions, messaging spans and HTTP server spans.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "AGENT_ID",
    "AGENT_NAME",
    "ATTEMPT",
    "ATTRIBUTES",
    "BATCH_COUNT",
    "BODY_SIZE",
    "CONSUMER",
    "CONVERSATION_ID",
    "DESTINATION",
    "ERROR",
    "INTERNAL",
    "MESSAGE_ID",
    "METHOD",
    "OPERATION",
    "OPERATION_TYPE",
    "PERFORMATIVE",
    "PRIORITY",
    "PRODUCER",
    "PROTOCOL",
    "ROUTE",
    "SENDER",
    "SERVER",
    "SPANS",
    "STATUS",
    "SYSTEM",
]

INTERNAL: Final = "internal"
PRODUCER: Final = "producer"
CONSUMER: Final = "consumer"
SERVER: Final = "server"

SYSTEM: Final = "messaging.system"
OPERATION: Final = "messaging.operation.name"
OPERATION_TYPE: Final = "messaging.operation.type"
DESTINATION: Final = "messaging.destination.name"
MESSAGE_ID: Final = "messaging.message.id"
CONVERSATION_ID: Final = "messaging.message.conversation_id"
BODY_SIZE: Final = "messaging.message.body.size"
BATCH_COUNT: Final = "messaging.batch.message_count"
ERROR: Final = "error.type"
METHOD: Final = "http.request.method"
ROUTE: Final = "http.route"
STATUS: Final = "http.response.status_code"

PERFORMATIVE: Final = "caxton.performative"
SENDER: Final = "caxton.sender"
AGENT_ID: Final = "caxton.agent.id"
AGENT_NAME: Final = "caxton.agent.name"
ATTEMPT: Final = "caxton.attempt"
PRIORITY: Final = "caxton.priority"
PROTOCOL: Final = "caxton.protocol"

SPANS: Final[dict[str, str]] = {
    "METHOD route": "a request to the REST API; above the messages that it brought",
    "send": "a message, from its acceptance to its handled mark or its dead letter",
    "admit": "in `send`: checked, and put into the open batch of the journal",
    "journal": "in `send`: until the commit that holds it is done; its sender then has the ack",
    "route": "in `send`: through its conversation, until its agent is chosen",
    "deliver": "in `send`, for each attempt: from the way to the agent until its outcome is back",
    "handle": "in `deliver`, in the process of the agent: as long as the agent has it",
}
"""What each span is about; the reference is made from it."""

ATTRIBUTES: Final[dict[str, str]] = {
    SYSTEM: "`caxton`",
    OPERATION: "send, admit, journal, route, deliver or handle",
    OPERATION_TYPE: "`send` of a `send` span, `process` of a `handle` span",
    DESTINATION: "the capability that was asked for, or the name of the receiver",
    MESSAGE_ID: "id of the message",
    CONVERSATION_ID: "id of its conversation",
    BODY_SIZE: "bytes of its content",
    BATCH_COUNT: "messages that one commit of the journal held",
    PERFORMATIVE: "the act",
    SENDER: "name of who sent it",
    AGENT_ID: "id of the agent that was chosen",
    AGENT_NAME: "name of that agent",
    ATTEMPT: "which try to have it handled, from 1",
    PRIORITY: "low, normal, high or critical",
    PROTOCOL: "the protocol of its conversation, where it has one",
    ERROR: "code of the error that ended the span",
    METHOD: "method of a request to the REST API",
    ROUTE: "its route",
    STATUS: "status of the answer",
}
"""What each attribute says; the reference is made from it."""
