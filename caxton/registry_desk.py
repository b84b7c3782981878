"""The registry as a gateway sees it: questions from its directory, changes through the keeper."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from caxton.agents.directory import Directory
from caxton.capability import Strategy
from caxton.errors import CapabilityNotFound, ClientNotFound, ValidationError
from caxton.moments import format_time
from caxton.registry_views import BreakerView, CapabilityView, ClientView, ProviderView, RouteView
from caxton.storage.entries import ClientRecord
from caxton.types import AgentName, CapabilityName, format_id
from caxton.views import AgentView

__all__ = ["METADATA", "METADATA_TEXT", "RegistryDesk", "check_client"]

METADATA = 16
"""Entries of a client's metadata at most."""
METADATA_TEXT = 200
"""Characters of a name or value in it."""
CLIENTS = 100_000
"""Client identities at most."""


class RegistryDesk:
    """See the module. Implements ``caxton.api.registry_entry.RegistryEntry``.

    Args:
        directory: kept current by its owner.
        ask: asks a shard: its number, the question, its arguments.
        agents: all agents with their state.
    """

    def __init__(
        self,
        directory: Directory,
        ask: Callable[[int, str, dict[str, Any]], Awaitable[Any]],
        agents: Callable[[], Awaitable[list[AgentView]]],
    ) -> None:
        self._directory = directory
        self._ask = ask
        self._agents = agents

    async def order(self, agent_id: bytes, action: str) -> AgentView:
        """Have an agent ``drain``, ``stop`` or ``start``.

        Raises:
            AgentNotFound: there is none.
            InvalidState: the lifecycle has no such move.
        """
        shard = self._directory.shard(agent_id)
        answer = await self._ask(shard, "agent_order", {"id": agent_id, "action": action})
        return msgspec.convert(answer, AgentView)

    async def breakers(self) -> list[BreakerView]:
        """The circuit breakers of agents that failed, by agent and shard."""
        rows: list[BreakerView] = []
        for shard in range(self._directory.shards):
            answer = await self._ask(shard, "breakers", {})
            rows += [msgspec.convert(one, BreakerView) for one in answer]
        return sorted(rows, key=lambda row: (row.agent.lower(), row.agent_id, row.shard))

    async def reset_breaker(self, agent_id: bytes) -> list[BreakerView]:
        """Close an agent's breakers now: it gets messages again. They are shown as they were."""
        text = format_id(agent_id)
        before = [one for one in await self.breakers() if one.agent_id == text]
        if before:
            await self.audit("breaker.reset", before[0].agent, text)
        for one in before:
            await self._ask(one.shard, "breaker_reset", {"id": agent_id})
        return before

    async def audit(self, kind: str, subject: str, detail: str = "") -> None:
        """Note in the audit trail what an operator is about to do."""
        await self._ask(0, "registry_audit", {"kind": kind, "subject": subject, "detail": detail})

    # --- capabilities ------------------------------------------------------------------------

    async def capabilities(self) -> list[CapabilityView]:
        """Every capability that is offered or has a strategy of its own, by name."""
        agents = {one.id: one for one in await self._agents()}
        names = {*self._directory.capabilities(), *self._directory.strategies}
        return [self._capability(name, agents) for name in sorted(names)]

    async def capability(self, name: str) -> CapabilityView:
        """One capability.

        Raises:
            CapabilityNotFound: nobody offers it.
        """
        found = self._capability(name, {one.id: one for one in await self._agents()})
        if not found.providers and found.default:
            near = self._directory.near_capability(name)
            raise CapabilityNotFound(capability=name, near=near)
        return found

    def _capability(self, name: str, agents: Mapping[str, AgentView]) -> CapabilityView:
        directory = self._directory
        rows = []
        for key in directory.offering(name):
            record, text = directory.agents[key], format_id(key)
            view = agents.get(text)
            rows.append(
                ProviderView(
                    agent=record.name,
                    id=text,
                    version=record.capability_version(name),
                    priority=record.priority,
                    state=view.state if view else "unloaded",
                    mailbox=view.mailbox if view else 0,
                    mailbox_limit=view.mailbox_limit if view else 0,
                    able=directory.able(record),
                )
            )
        rows.sort(key=lambda row: (-row.priority, row.agent))
        return CapabilityView(
            name=name,
            strategy=directory.offers.strategy(name).value,
            default=name not in directory.strategies,
            providers=tuple(rows),
        )

    async def set_strategy(self, name: str, strategy: Strategy | None) -> CapabilityView:
        """Set how a provider is chosen from now on; None for the node's default.

        Raises:
            ValidationError: the name is none.
        """
        CapabilityName.parse(name, "capability")
        text = strategy.value if strategy else ""
        await self._ask(0, "registry_strategy", {"capability": name, "strategy": text})
        found = self._capability(name, {one.id: one for one in await self._agents()})
        # The directory may hear of it later.
        shown = text or self._directory.offers.default.value
        return msgspec.structs.replace(found, strategy=shown, default=strategy is None)

    # --- routes and clients ------------------------------------------------------------------

    def routes(self) -> list[RouteView]:
        """The routing table, by name."""
        name = self._directory.name
        rows = [
            RouteView(
                agent=name(one.agent_id),
                agent_id=format_id(one.agent_id),
                node_id=format_id(one.node_id),
                shard=one.shard,
                hops=one.hops,
                updated_at=format_time(one.updated_at),
            )
            for one in self._directory.routes.values()
        ]
        return sorted(rows, key=lambda row: (row.agent.lower(), row.agent_id))

    def clients(self) -> list[ClientView]:
        """The registered client identities, by name."""
        rows = [_client(one) for one in self._directory.registered.values()]
        return sorted(rows, key=lambda row: (row.name.lower(), row.name))

    def client(self, name_or_id: str) -> ClientView:
        """One client identity. Raises ClientNotFound."""
        return _client(self._client(name_or_id))

    def _client(self, name_or_id: str) -> ClientRecord:
        for one in self._directory.registered.values():
            if name_or_id == one.name or name_or_id.lower() == format_id(one.id):
                return one
        raise ClientNotFound(client=name_or_id)

    async def register(self, name: str, metadata: Mapping[str, str]) -> ClientView:
        """Register a client identity, or change its metadata.

        Raises:
            ValidationError: the name or the metadata is out of range, or there are too many.
        """
        check_client(name, metadata)
        if len(self._directory.registered) >= CLIENTS:
            raise ValidationError(
                field="name", value=name, allowed=f"at most {CLIENTS:,} clients in all"
            )
        row = await self._ask(0, "registry_client", {"name": name, "metadata": dict(metadata)})
        return _client(msgspec.convert(row, ClientRecord))

    async def deregister(self, name_or_id: str) -> ClientView:
        """Deregister a client identity: it may send no more. Raises ClientNotFound."""
        found = self._client(name_or_id)
        await self._ask(0, "registry_client_removed", {"client_id": found.id})
        return _client(found)


def check_client(name: str, metadata: Mapping[str, str]) -> None:
    """Whether a client may be registered so.

    Raises:
        ValidationError: the name or the metadata is out of range.
    """
    AgentName.parse(name, "name")
    if len(metadata) > METADATA or any(
        not 1 <= len(key) <= METADATA_TEXT or len(text) > METADATA_TEXT
        for key, text in metadata.items()
    ):
        raise ValidationError(
            field="metadata",
            value=f"{len(metadata)} entries",
            allowed=f"at most {METADATA} names and texts of at most {METADATA_TEXT} characters",
        )


def _client(record: ClientRecord) -> ClientView:
    return ClientView(
        id=format_id(record.id),
        name=record.name,
        metadata=dict(record.metadata),
        created_at=format_time(record.created_at),
        updated_at=format_time(record.updated_at),
    )
