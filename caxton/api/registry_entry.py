"""What the REST app needs of a node's registry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from caxton.capability import Strategy
from caxton.registry_views import BreakerView, CapabilityView, ClientView, RouteView
from caxton.views import AgentView

__all__ = ["RegistryEntry"]


class RegistryEntry(Protocol):
    """``caxton.registry_desk.RegistryDesk`` is the real one."""

    async def order(self, agent_id: bytes, action: str) -> AgentView:
        """Have an agent drain, stop or start. Raises InvalidState."""
        ...

    async def breakers(self) -> list[BreakerView]:
        """The circuit breakers of agents that failed, by agent and shard."""
        ...

    async def reset_breaker(self, agent_id: bytes) -> list[BreakerView]:
        """Close an agent's breakers now; they are shown as they were."""
        ...

    async def capabilities(self) -> list[CapabilityView]:
        """Every capability, by name."""
        ...

    async def capability(self, name: str) -> CapabilityView:
        """One capability. Raises CapabilityNotFound."""
        ...

    async def set_strategy(self, name: str, strategy: Strategy | None) -> CapabilityView:
        """Set how a provider is chosen; None for the node's default."""
        ...

    def routes(self) -> list[RouteView]:
        """The routing table, by name."""
        ...

    def clients(self) -> list[ClientView]:
        """Client identities, by name."""
        ...

    def client(self, name_or_id: str) -> ClientView:
        """One client identity. Raises ClientNotFound."""
        ...

    async def register(self, name: str, metadata: Mapping[str, str]) -> ClientView:
        """Register a client identity, or change its metadata."""
        ...

    async def deregister(self, name_or_id: str) -> ClientView:
        """Deregister a client identity. Raises ClientNotFound."""
        ...
