"""The registry through a client: ``client.registry.order("Echo", "drain")``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, TypeVar

from caxton.api.calls import Calls
from caxton.api.exchange import Steps
from caxton.api.registry_calls import RegistryCalls
from caxton.registry_views import BreakerView, CapabilityView, ClientView, RouteView
from caxton.views import AgentView, ToolView

__all__ = ["AsyncRegistryClient", "RegistryClient"]

R = TypeVar("R")


class _Run(Protocol):
    def __call__(self, steps: Steps[R]) -> R: ...


class RegistryClient:
    """Agents' orders, capabilities, routes and client identities; blocking.

    Every method raises the CaxtonError that says why the node did not do it.
    """

    def __init__(self, calls: Calls, run: _Run) -> None:
        self._calls = RegistryCalls(calls)
        self._run = run

    def order(self, name_or_id: str, action: str) -> AgentView:
        """Have an agent ``drain`` (finish, then stop), ``stop`` or ``start``."""
        return self._run(self._calls.order(name_or_id, action))

    def breakers(self) -> list[BreakerView]:
        """The circuit breakers of agents that failed, by agent and shard."""
        return self._run(self._calls.breakers())

    def reset_breaker(self, name_or_id: str) -> list[BreakerView]:
        """Close the breakers of an agent now; they are shown as they were."""
        return self._run(self._calls.reset_breaker(name_or_id))

    def capabilities(self) -> list[CapabilityView]:
        """Every capability with its providers, by name."""
        return self._run(self._calls.capabilities())

    def capability(self, name: str) -> CapabilityView:
        """One capability."""
        return self._run(self._calls.capability(name))

    def set_strategy(self, name: str, strategy: str | None) -> CapabilityView:
        """Set how a provider is chosen; None for the node's default."""
        return self._run(self._calls.set_strategy(name, strategy))

    def tools(self) -> list[ToolView]:
        """The tools that agents may name, by name."""
        return self._run(self._calls.tools())

    def routes(self) -> list[RouteView]:
        """The routing table, by agent."""
        return self._run(self._calls.routes())

    def clients(self) -> list[ClientView]:
        """Client identities, by name."""
        return self._run(self._calls.clients())

    def client(self, name_or_id: str) -> ClientView:
        """One client identity."""
        return self._run(self._calls.client(name_or_id))

    def register(self, name: str, metadata: Mapping[str, str] | None = None) -> ClientView:
        """Register a client identity, or change its metadata."""
        return self._run(self._calls.register(name, metadata or {}))

    def deregister(self, name_or_id: str) -> ClientView:
        """Deregister a client identity: it may send no more."""
        return self._run(self._calls.deregister(name_or_id))


class AsyncRegistryClient:
    """The same for asyncio."""

    def __init__(self, calls: Calls, run: Callable[[Steps[Any]], Awaitable[Any]]) -> None:
        self._calls = RegistryCalls(calls)
        self._run = run

    async def order(self, name_or_id: str, action: str) -> AgentView:
        """Have an agent ``drain`` (finish, then stop), ``stop`` or ``start``."""
        found: AgentView = await self._run(self._calls.order(name_or_id, action))
        return found

    async def breakers(self) -> list[BreakerView]:
        """The circuit breakers of agents that failed, by agent and shard."""
        found: list[BreakerView] = await self._run(self._calls.breakers())
        return found

    async def reset_breaker(self, name_or_id: str) -> list[BreakerView]:
        """Close the breakers of an agent now; they are shown as they were."""
        found: list[BreakerView] = await self._run(self._calls.reset_breaker(name_or_id))
        return found

    async def capabilities(self) -> list[CapabilityView]:
        """Every capability with its providers, by name."""
        found: list[CapabilityView] = await self._run(self._calls.capabilities())
        return found

    async def capability(self, name: str) -> CapabilityView:
        """One capability."""
        found: CapabilityView = await self._run(self._calls.capability(name))
        return found

    async def set_strategy(self, name: str, strategy: str | None) -> CapabilityView:
        """Set how a provider is chosen; None for the node's default."""
        found: CapabilityView = await self._run(self._calls.set_strategy(name, strategy))
        return found

    async def tools(self) -> list[ToolView]:
        """The tools that agents may name, by name."""
        found: list[ToolView] = await self._run(self._calls.tools())
        return found

    async def routes(self) -> list[RouteView]:
        """The routing table, by agent."""
        found: list[RouteView] = await self._run(self._calls.routes())
        return found

    async def clients(self) -> list[ClientView]:
        """Client identities, by name."""
        found: list[ClientView] = await self._run(self._calls.clients())
        return found

    async def client(self, name_or_id: str) -> ClientView:
        """One client identity."""
        found: ClientView = await self._run(self._calls.client(name_or_id))
        return found

    async def register(self, name: str, metadata: Mapping[str, str] | None = None) -> ClientView:
        """Register a client identity, or change its metadata."""
        found: ClientView = await self._run(self._calls.register(name, metadata or {}))
        return found

    async def deregister(self, name_or_id: str) -> ClientView:
        """Deregister a client identity: it may send no more."""
        found: ClientView = await self._run(self._calls.deregister(name_or_id))
        return found
