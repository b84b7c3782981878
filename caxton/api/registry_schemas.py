"""The bodies of the registry's routes, as the OpenAPI document shows them."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from caxton.capability import Strategy
from caxton.registry_desk import METADATA, METADATA_TEXT
from caxton.registry_views import BreakerPage, BreakerView, CapabilityView, ClientView, RouteView
from caxton.types import AgentName
from caxton.views import ToolView

__all__ = [
    "REGISTRY_BODIES",
    "REGISTRY_TYPES",
    "CapabilityPage",
    "ClientPage",
    "RoutePage",
    "ToolPage",
]


class CapabilityPage(msgspec.Struct, frozen=True):
    """A page of capabilities, by name."""

    items: list[CapabilityView]
    next_page_token: str
    """Empty on the last page."""


class RoutePage(msgspec.Struct, frozen=True):
    """A page of the routing table, by agent."""

    items: list[RouteView]
    next_page_token: str
    """Empty on the last page."""


class ClientPage(msgspec.Struct, frozen=True):
    """A page of client identities, by name."""

    items: list[ClientView]
    next_page_token: str
    """Empty on the last page."""


class ToolPage(msgspec.Struct, frozen=True):
    """A page of tools, by name."""

    items: list[ToolView]
    next_page_token: str
    """Empty on the last page."""


REGISTRY_TYPES: Final = (
    BreakerPage, BreakerView, CapabilityPage, CapabilityView, ClientPage, ClientView, RoutePage,
    RouteView, ToolPage, ToolView,
)  # fmt: skip
"""The structs of answers."""

REGISTRY_BODIES: Final[dict[str, dict[str, Any]]] = {
    "CapabilityChange": {
        "type": "object",
        "description": "How a provider of a capability is chosen; null for the node's default.",
        "additionalProperties": False,
        "required": ["strategy"],
        "properties": {"strategy": {"enum": [*(one.value for one in Strategy), None]}},
    },
    "Client": {
        "type": "object",
        "description": "A client identity. Registering one again changes its metadata.",
        "additionalProperties": False,
        "required": ["name"],
        "properties": {
            "name": {
                "type": "string",
                "minLength": int(AgentName.low),
                "maxLength": int(AgentName.high),
                "pattern": f"^{AgentName.pattern}$",
            },
            "metadata": {
                "type": ["object", "null"],
                "maxProperties": METADATA,
                "propertyNames": {"minLength": 1, "maxLength": METADATA_TEXT},
                "additionalProperties": {"type": "string", "maxLength": METADATA_TEXT},
            },
        },
    },
}
"""What requests send."""
