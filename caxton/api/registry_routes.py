"""The rows of the route table that concern the registry."""

from __future__ import annotations

from typing import Final

from caxton.api import registry_handlers as handlers
from caxton.api.query import DEFAULT_PAGE, MAX_PAGE
from caxton.api.route import Good, Parameter, Route
from caxton.types import AgentName, CapabilityName

__all__ = ["REGISTRY_ROUTES"]

_BODY: Final = (408, 413, 415, 429)
_PAGES: Final = (
    Parameter(
        "page_size",
        "most items of the page",
        {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": DEFAULT_PAGE},
    ),
    Parameter("page_token", "next_page_token of the page before", {"type": "string"}),
)
_NAME: Final = {"type": "string", "minLength": 1, "maxLength": int(AgentName.high)}
_AGENT: Final = Parameter("agent", "name or id", _NAME, "path")
_CLIENT: Final = Parameter("client", "name or id", _NAME, "path")
_CAPABILITY: Final = Parameter(
    "capability",
    "its name",
    {
        "type": "string",
        "minLength": 1,
        "maxLength": int(CapabilityName.high),
        "pattern": f"^{CapabilityName.pattern}$",
    },
    "path",
)

_ORDERS: Final = {
    "drain": "Have an agent finish what it has and stop; it stays so over restarts",
    "stop": "Stop an agent now; what it had comes again when it is started",
    "start": "Put a stopped or failed agent into service",
}

REGISTRY_ROUTES: tuple[Route, ...] = (
    *(
        Route(
            "POST", f"/api/v1/agents/{{agent}}/{action}", handlers.order(action), summary,
            (Good(202, "The agent, on its way", "AgentView"),), (404, 409, 502, 504, 507),
            (_AGENT,),
        )
        for action, summary in _ORDERS.items()
    ),
    Route(
        "GET", "/api/v1/breakers", handlers.breakers,
        "List the circuit breakers of agents that failed",
        (Good(200, "A page", "BreakerPage"),), (), _PAGES,
    ),
    Route(
        "POST", "/api/v1/breakers/{agent}/reset", handlers.reset_breaker,
        "Close the breakers of an agent now: it gets messages again",
        (Good(200, "The breakers as they were", "BreakerPage"),), (404, 504), (_AGENT,),
    ),
    Route(
        "GET", "/api/v1/capabilities", handlers.capabilities, "List capabilities, by name",
        (Good(200, "A page", "CapabilityPage"),), (), _PAGES,
    ),
    Route(
        "GET", "/api/v1/capabilities/{capability}", handlers.capability,
        "One capability with its providers",
        (Good(200, "The capability", "CapabilityView"),), (404,), (_CAPABILITY,),
    ),
    Route(
        "PUT", "/api/v1/capabilities/{capability}", handlers.set_strategy,
        "Set how a provider of a capability is chosen",
        (Good(200, "The capability", "CapabilityView"),), (*_BODY, 404, 504, 507),
        (_CAPABILITY,), "CapabilityChange",
    ),
    Route(
        "GET", "/api/v1/tools", handlers.tools, "List the tools that agents may name, by name",
        (Good(200, "A page", "ToolPage"),), (), _PAGES,
    ),
    Route(
        "GET", "/api/v1/routes", handlers.routes, "The routing table, by agent",
        (Good(200, "A page", "RoutePage"),), (), _PAGES,
    ),
    Route(
        "GET", "/api/v1/clients", handlers.clients, "List client identities, by name",
        (Good(200, "A page", "ClientPage"),), (), _PAGES,
    ),
    Route(
        "POST", "/api/v1/clients", handlers.register,
        "Register a client identity, or change its metadata",
        (Good(201, "It may send", "ClientView"),), (*_BODY, 504, 507), (), "Client",
    ),
    Route(
        "GET", "/api/v1/clients/{client}", handlers.client, "One client identity",
        (Good(200, "The client", "ClientView"),), (404,), (_CLIENT,),
    ),
    Route(
        "DELETE", "/api/v1/clients/{client}", handlers.deregister,
        "Deregister a client identity: it may send no more",
        (Good(200, "It is gone; this was the client", "ClientView"),), (404, 504, 507), (_CLIENT,),
    ),
)  # fmt: skip
