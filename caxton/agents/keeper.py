"""The keeper of the registry: on shard 0, the one that writes what every process follows.

States of agents and their routes, client identities, strategies of capabilities, heartbeats. Each
change is stored, then told to everyone, then an event says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from caxton.agents.directory import Directory
from caxton.agents.lifecycle import AgentState
from caxton.capability import Strategy
from caxton.errors import AgentNotFound, ClientNotFound, InternalError
from caxton.message import now_ms
from caxton.storage.entries import (
    BeatRecord,
    ClientRecord,
    Entry,
    RouteRecord,
    StateRecord,
    StrategyRecord,
)
from caxton.storage.registry import AgentRecord, Registry
from caxton.types import format_id, named_id

__all__ = ["Keeper"]


class Keeper:
    """See the module.

    Args:
        registry: opened for writing.
        directory: of this process.
        changed: tells the other processes that there is a new revision.
        event: tells operators something.
    """

    def __init__(
        self,
        registry: Registry,
        directory: Directory,
        changed: Callable[[], None],
        event: Callable[[str, str, str], None],
    ) -> None:
        self._registry = registry
        self._directory = directory
        self._changed = changed
        self._event = event
        self._states: dict[bytes, StateRecord] = {}
        self._routed: dict[bytes, RouteRecord] = {}
        for entry in registry.entries_since(0)[1]:
            if isinstance(entry, StateRecord):
                self._states[entry.id] = entry
            elif isinstance(entry, RouteRecord) and not entry.removed:
                self._routed[entry.agent_id] = entry
        self._questions: dict[str, Callable[..., Any]] = {
            "registry_report": self.report,
            "registry_stopped": self.stopped,
            "registry_strategy": self.strategy,
            "registry_client": self.client,
            "registry_client_removed": self.client_removed,
            "registry_beat": self.beat,
            "registry_audit": self.audit,
        }

    async def answer(self, name: str, arguments: dict[str, Any]) -> Any:
        """Do what a question asks for; its arguments are those of the method.

        Raises:
            CaxtonError: it cannot be done; nothing was changed.
        """
        method = self._questions.get(name)
        if method is None:
            raise InternalError(reason=f"unknown question {name}")
        return method(**arguments)

    def _write(self, entries: Sequence[Entry]) -> None:
        if not entries:
            return
        revision = self._registry.put(entries)
        for entry in entries:
            if isinstance(entry, StateRecord):
                self._states[entry.id] = entry
            elif isinstance(entry, RouteRecord):
                self._routed.pop(entry.agent_id, None)
                if not entry.removed:
                    self._routed[entry.agent_id] = entry
        self._directory.take(entries)
        self._directory.entry_revision = revision
        self._changed()

    # --- agents ------------------------------------------------------------------------------

    def report(self, rows: Iterable[Sequence[Any]]) -> None:
        """Keep the states of agents: id, state, since when, and why. A running one has a route."""
        states: dict[bytes, StateRecord] = {}
        told = []
        agents = self._directory.agents
        for agent_id, state, since, reason in rows:
            key = bytes(agent_id)
            known = states.get(key) or self._states.get(key)
            if key not in agents or (known is not None and known.state == state):
                continue
            stopped = known is not None and known.stopped
            states[key] = StateRecord(key, state, since, reason, stopped)
            before = AgentState.UNLOADED.value if known is None else known.state
            why = f": {reason}" if reason else ""
            told.append((agents[key].name, f"{before} → {state}{why}"))
        entries: list[Entry] = []
        for key, record in states.items():
            entries.append(record)
            entries += self._route(key, present=record.state == AgentState.RUNNING.value)
        self._write(entries)
        for name, text in told:
            self._event("agent.state", name, text)

    def _route(self, agent_id: bytes, *, present: bool) -> list[Entry]:
        if (agent_id in self._routed) is present:
            return []
        directory = self._directory
        return [
            RouteRecord(
                agent_id, directory.node_id, directory.shard(agent_id), 0, now_ms(),
                removed=not present,
            )
        ]  # fmt: skip

    def stopped(self, agent_id: bytes, stopped: bool) -> None:
        """Keep whether an operator wants an agent out of service.

        Raises:
            AgentNotFound: it is not registered.
        """
        key = bytes(agent_id)
        if key not in self._directory.agents:
            raise AgentNotFound(agent=format_id(key), near="")
        known = self._states.get(key) or StateRecord(key, AgentState.UNLOADED.value, now_ms())
        self._write([msgspec.structs.replace(known, stopped=stopped)])

    def removed(self, records: Iterable[AgentRecord]) -> None:
        """Agents are registered no more: what was kept of them goes."""
        entries: list[Entry] = []
        for record in records:
            if record.removed and record.id in self._states:
                entries.append(StateRecord(record.id, AgentState.UNLOADED.value, now_ms()))
                entries += self._route(record.id, present=False)
        self._write(entries)

    def beat(self, shard: int, agents: int) -> None:
        """A shard lives, and so many of its agents run."""
        self._write([BeatRecord(shard, now_ms(), agents)])

    def audit(self, kind: str, subject: str, detail: str = "") -> None:
        """Note what an operator did."""
        self._registry.audit(kind, subject, detail)

    # --- capabilities and clients ------------------------------------------------------------

    def strategy(self, capability: str, strategy: str) -> None:
        """Set how a provider of a capability is chosen; an empty text for the node's default."""
        known = self._directory.strategies.get(capability)
        if (known.value if known else "") == strategy:
            return
        self._write([StrategyRecord(capability, Strategy(strategy).value if strategy else "",
                                    now_ms())])  # fmt: skip
        self._event("capability.strategy", capability, strategy or "the node's default")

    def client(self, name: str, metadata: dict[str, str]) -> Any:
        """Register a client identity, or change its metadata; returns the record in plain types."""
        key = named_id(self._directory.node_id, f"client:{name}")
        known = self._directory.registered.get(key)
        if known is None or known.metadata != metadata:
            made = now_ms() if known is None else known.created_at
            self._write([ClientRecord(key, name, made, now_ms(), dict(metadata))])
            self._event("client.registered", name, format_id(key))
        return msgspec.to_builtins(self._directory.registered[key], builtin_types=(bytes,))

    def client_removed(self, client_id: bytes) -> None:
        """Deregister a client identity: it may send no more.

        Raises:
            ClientNotFound: it is not registered.
        """
        known = self._directory.registered.get(bytes(client_id))
        if known is None:
            raise ClientNotFound(client=format_id(bytes(client_id)))
        self._write([msgspec.structs.replace(known, removed=True, updated_at=now_ms())])
        self._event("client.deregistered", known.name, format_id(known.id))
