"""What the registry shows: capabilities with their providers, routes, client identities.

Bodies of the REST API, as those of ``caxton.views``.
"""

from __future__ import annotations

import msgspec

__all__ = ["CapabilityView", "ClientView", "ProviderView", "RouteView"]


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


class ClientView(msgspec.Struct, frozen=True):
    """A client identity: it may send, and reads its replies from their conversations."""

    id: str
    name: str
    metadata: dict[str, str]
    created_at: str
    updated_at: str
