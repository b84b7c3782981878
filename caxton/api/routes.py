"""The route table: path, method, handler, and what the OpenAPI document says of each."""

from __future__ import annotations

from typing import Any

from caxton.api import handlers
from caxton.api.events import LAST_EVENT_ID
from caxton.api.memory_routes import MEMORY_ROUTES
from caxton.api.query import DEFAULT_PAGE, EVENT_TYPES, MAX_PAGE, WAIT
from caxton.api.registry_routes import REGISTRY_ROUTES
from caxton.api.route import Good, Parameter, Route
from caxton.types import AgentName, CapabilityName
from caxton.views import PAGE

__all__ = ["ROUTES", "Good", "Parameter", "Route"]


def _exact(pattern: str) -> dict[str, Any]:
    return {"type": "string", "pattern": f"^({pattern})$"}


_BODY = (408, 413, 415, 429)
_PAGES = (
    Parameter(
        "page_size",
        "most items of the page",
        {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": DEFAULT_PAGE},
    ),
    Parameter("page_token", "next_page_token of the page before", {"type": "string"}),
)
_LETTER = Parameter(
    "letter", "its id: shard and sequence number", _exact(handlers.LETTER.pattern), "path"
)
_LIVE = Good(200, "The process answers", "Health")
_READY = (
    Good(200, "The node takes messages", "Readiness"),
    Good(503, "It does not, or not all of it", "Readiness"),
)

ROUTES: tuple[Route, ...] = (
    Route(
        "POST", "/api/v1/messages", handlers.send,
        "Send a message; with `wait`, get its reply",
        (Good(202, "Accepted: it is in the journal", "Ack"),
         Good(200, "With `wait`: the reply", "Reply")),
        (*_BODY, 404, 409, 502, 504, 507),
        (Parameter("wait", "how long to wait for the reply: 30s, 30 or 1500ms, 1 s to 300 s",
                   _exact(WAIT)),),
        "Message",
    ),
    Route(
        "POST", "/api/v1/messages/batch", handlers.send_batch,
        "Send 1 to 1,000 messages; each has its own outcome",
        (Good(202, "The outcomes, in order", "BatchOutcome"),),
        (*_BODY, 507), (), "MessageBatch",
    ),
    Route(
        "GET", "/api/v1/agents", handlers.agents, "List agents, by name",
        (Good(200, "A page", "AgentPage"),), (),
        (*_PAGES,
         Parameter("state", "only those in this state",
                   {"type": "string", "enum": list(handlers.AGENT_STATES)}),
         Parameter("capability", "only those that offer it",
                   {"type": "string", "minLength": 1, "maxLength": int(CapabilityName.high),
                    "pattern": f"^{CapabilityName.pattern}$"})),
    ),
    Route(
        "GET", "/api/v1/agents/{agent}", handlers.agent, "One agent",
        (Good(200, "The agent", "AgentView"),), (404,),
        (Parameter("agent", "name or id", {"type": "string", "minLength": 1,
                                           "maxLength": int(AgentName.high)}, "path"),),
    ),
    Route(
        "GET", "/api/v1/conversations", handlers.conversations,
        "List conversations, the newest activity first",
        (Good(200, "A page", "ConversationPage"),), (), _PAGES,
    ),
    Route(
        "GET", "/api/v1/conversations/{conversation}", handlers.conversation,
        "One conversation with its newest messages, in order",
        (Good(200, "The conversation", "ConversationDetail"),), (404,),
        (Parameter("conversation", "id", {"type": "string", "format": "uuid"}, "path"),
         Parameter("limit", "most messages",
                   {"type": "integer", "minimum": 1, "maximum": PAGE, "default": PAGE}),
         Parameter("before", "only messages before this sequence number: `before` of the reply",
                   {"type": "integer", "minimum": 1, "maximum": handlers.MAX_SEQ})),
    ),
    Route(
        "GET", "/api/v1/dead-letters", handlers.dead_letters,
        "List dead letters, the latest first",
        (Good(200, "A page", "DeadLetterPage"),), (), _PAGES,
    ),
    Route(
        "GET", "/api/v1/dead-letters/{letter}", handlers.dead_letter,
        "One dead letter with its message and traceback",
        (Good(200, "The dead letter", "DeadLetterDetail"),), (404,), (_LETTER,),
    ),
    Route(
        "POST", "/api/v1/dead-letters/{letter}/retry", handlers.retry_dead_letter,
        "Have the message of a dead letter handled once more",
        (Good(202, "It is in the journal again; this was the letter", "DeadLetterView"),), (404,),
        (_LETTER,),
    ),
    Route(
        "DELETE", "/api/v1/dead-letters/{letter}", handlers.discard_dead_letter,
        "Discard a dead letter for good",
        (Good(200, "It is gone; this was the letter", "DeadLetterView"),), (404,), (_LETTER,),
    ),
    Route(
        "GET", "/api/v1/content/{content}", handlers.content,
        "A large tool result, by the hash it was kept under",
        (Good(200, "Its bytes", media="application/octet-stream"),), (404,),
        (Parameter("content", "SHA-256 of its bytes, in hex", _exact("[0-9a-f]{64}"), "path"),),
    ),
    Route(
        "GET", "/api/v1/node", handlers.node, "The node at one glance",
        (Good(200, "The node", "NodeView"),),
    ),
    Route(
        "GET", "/api/v1/events", handlers.events, "Follow events (server-sent events)",
        (Good(200, "Each `data:` is an Event; a last event `lagged` tells a slow client to come "
                   "back", "ServerSentEvent", "text/event-stream"),),
        (429,),
        (Parameter("types", "beginnings of event types, with commas between",
                   _exact(EVENT_TYPES)),
         Parameter("Last-Event-ID", "id of the last event seen; later ones follow",
                   _exact(f"({LAST_EVENT_ID})?"), "header")),
    ),
    *REGISTRY_ROUTES,
    *MEMORY_ROUTES,
    Route("GET", "/health", handlers.health, "Whether the process lives", (_LIVE,)),
    Route("GET", "/livez", handlers.health, "Whether the process lives", (_LIVE,)),
    Route("GET", "/ready", handlers.ready, "Whether the node takes messages", _READY),
    Route("GET", "/readyz", handlers.ready, "Whether the node takes messages", _READY),
    Route(
        "GET", "/metrics", handlers.metrics, "Prometheus metrics",
        (Good(200, "Text exposition", media="text/plain"),),
    ),
    Route(
        "GET", "/openapi.json", handlers.openapi, "This description",
        (Good(200, "OpenAPI 3.1", "OpenApi"),),
    ),
    Route(
        "GET", "/docs", handlers.docs, "This description for people",
        (Good(200, "A page", media="text/html"),),
    ),
    Route(
        "GET", "/docs/errors", handlers.errors, "Every error code, what it means, what to do",
        (Good(200, "A page", media="text/html"),),
    ),
)  # fmt: skip
