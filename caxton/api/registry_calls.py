"""The calls of the registry, without any I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from caxton.api.calls import Calls
from caxton.api.drafts import dump
from caxton.api.exchange import Steps
from caxton.errors import AgentNotFound, CapabilityNotFound, ClientNotFound, ValidationError
from caxton.registry_views import BreakerPage, BreakerView, CapabilityView, ClientView, RouteView
from caxton.types import AgentName, CapabilityName
from caxton.views import AgentView, ToolView

__all__ = ["RegistryCalls"]

API: Final = "/api/v1"


class RegistryCalls:
    """What one client can ask of the registry; none of it does more when it is done twice."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def order(self, name_or_id: str, action: str) -> Steps[AgentView]:
        """Have an agent drain, stop or start."""
        try:
            AgentName.parse(name_or_id, "agent")
        except ValidationError:
            raise AgentNotFound(agent=name_or_id, near="") from None
        path = f"{API}/agents/{quote(name_or_id, safe='')}/{action}"
        return (yield from self._calls.change("POST", path, AgentView))

    def breakers(self) -> Steps[list[BreakerView]]:
        """The circuit breakers of agents that failed."""
        return (yield from self._calls.pages(f"{API}/breakers", BreakerView))

    def reset_breaker(self, name_or_id: str) -> Steps[list[BreakerView]]:
        """Close the breakers of an agent now; they are shown as they were."""
        try:
            AgentName.parse(name_or_id, "agent")
        except ValidationError:
            raise AgentNotFound(agent=name_or_id, near="") from None
        path = f"{API}/breakers/{quote(name_or_id, safe='')}/reset"
        page = yield from self._calls.change("POST", path, BreakerPage)
        return page.items

    def capabilities(self) -> Steps[list[CapabilityView]]:
        """Every capability, by name."""
        return (yield from self._calls.pages(f"{API}/capabilities", CapabilityView))

    def _capability(self, name: str) -> str:
        try:
            return f"{API}/capabilities/{CapabilityName.parse(name, 'capability')}"
        except ValidationError:
            raise CapabilityNotFound(capability=name, near="") from None

    def capability(self, name: str) -> Steps[CapabilityView]:
        """One capability with its providers."""
        return (yield from self._calls.get(self._capability(name), CapabilityView))

    def set_strategy(self, name: str, strategy: str | None) -> Steps[CapabilityView]:
        """Set how a provider is chosen; None for the node's default."""
        body = dump({"strategy": strategy})
        return (yield from self._calls.change("PUT", self._capability(name), CapabilityView, body))

    def tools(self) -> Steps[list[ToolView]]:
        """The tools that agents may name, by name."""
        return (yield from self._calls.pages(f"{API}/tools", ToolView))

    def routes(self) -> Steps[list[RouteView]]:
        """The routing table, by agent."""
        return (yield from self._calls.pages(f"{API}/routes", RouteView))

    def clients(self) -> Steps[list[ClientView]]:
        """Client identities, by name."""
        return (yield from self._calls.pages(f"{API}/clients", ClientView))

    def _client(self, name_or_id: str) -> str:
        try:
            return f"{API}/clients/{AgentName.parse(name_or_id, 'client')}"
        except ValidationError:
            raise ClientNotFound(client=name_or_id) from None

    def client(self, name_or_id: str) -> Steps[ClientView]:
        """One client identity."""
        return (yield from self._calls.get(self._client(name_or_id), ClientView))

    def register(self, name: str, metadata: Mapping[str, str]) -> Steps[ClientView]:
        """Register a client identity, or change its metadata."""
        body: dict[str, Any] = {"name": name, "metadata": dict(metadata)}
        return (yield from self._calls.change("POST", f"{API}/clients", ClientView, dump(body)))

    def deregister(self, name_or_id: str) -> Steps[ClientView]:
        """Deregister a client identity."""
        return (yield from self._calls.change("DELETE", self._client(name_or_id), ClientView))
