"""What the registry shows: capabilities with their providers, routes, client identities.

Bodies of the REST API, as those of ``caxton.views``.
"""

from __future__ import annotations

import msgspec

__all__ = [
    "BreakerPage",
    "BreakerView",
    "CapabilityView",
    "ClientView",
    "ProviderView",
    "RouteView",
]


class ProviderView(msgspec.Struct, frozen=True):
    """An agent that offers a capability."""

    agent: str
    """Its name."""
    id: str
    version: str
    """In which it offers the capability."""
    priority: int
    state: str
    mailbox: int
    mailbox_limit: int
    able: bool
    """Whether it may be chosen now."""


class CapabilityView(msgspec.Struct, frozen=True):
    """A capability: how a provider is chosen, and who they are, the highest priority first."""

    name: str
    strategy: str
    default: bool
    """Whether the strategy is the node's default."""
    providers: tuple[ProviderView, ...]


class RouteView(msgspec.Struct, frozen=True):
    """Where the messages of an agent go."""

    agent: str
    """Its name where that is known, its id otherwise."""
    agent_id: str
    node_id: str
    shard: int
    hops: int
    """0 for an agent of this node."""
    updated_at: str


class BreakerView(msgspec.Struct, frozen=True):
    """The circuit breaker of an agent that failed, at one shard."""

    agent: str
    """Its name."""
    agent_id: str
    shard: int
    state: str
    """closed, open or half-open."""
    failures: int
    """In a row."""
    slow: int
    """How many of them were slow handling."""
    since: str
    """When it came to its state."""
    until: str
    """When an open one lets a probe through."""
    reason: str
    """The failure that opened it."""


class BreakerPage(msgspec.Struct, frozen=True):
    """Some of the breakers."""

    items: list[BreakerView]
    next_page_token: str = ""
    """For the next page; empty on the last."""


class ClientView(msgspec.Struct, frozen=True):
    """A client identity: it may send, and reads its replies from their conversations."""

    id: str
    name: str
    metadata: dict[str, str]
    created_at: str
    updated_at: str
