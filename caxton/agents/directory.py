"""Who is there: agents and client identities by id, name and capability, in one process.

Every process of a node holds one. It is filled from the registry store and kept current by
revisions; look-ups are dictionary look-ups.
"""

from __future__ import annotations

import difflib
import re
import time
from collections.abc import Callable, Iterable

import msgspec

from caxton.agents.definition import kebab as slug
from caxton.agents.offers import Offers
from caxton.capability import Strategy, split_capability
from caxton.errors import AgentNotFound, ValidationError
from caxton.links.wire import shard_of
from caxton.storage.entries import (
    BeatRecord,
    ClientRecord,
    Entry,
    RouteRecord,
    StateRecord,
    StrategyRecord,
)
from caxton.storage.registry import AgentRecord, Registry
from caxton.types import format_id, named_id, parse_id

__all__ = ["Directory", "client_identity", "system_identity"]

_OUT = frozenset({"draining", "stopped", "failed"})
"""States in which an agent takes no messages."""
UNKNOWN = 10_000
"""Ids that are remembered as unknown."""
UNKNOWN_S = 1.0
"""For how long."""
_ID = re.compile(r"[0-9a-fA-F-]{32,36}")


def client_identity(node_id: bytes) -> bytes:
    """The agent id of the node's local client: REST, CLI and Python calls that name no sender."""
    return named_id(node_id, "client:local")


def system_identity(node_id: bytes) -> bytes:
    """The agent id of the node itself, which sends FAILURE and NOT_UNDERSTOOD."""
    return named_id(node_id, "node")


class Directory:
    """The agents of a node, as one process sees them."""

    def __init__(
        self,
        node_id: bytes,
        shards: int,
        strategy: Strategy = Strategy.STICKY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.node_id = node_id
        self.shards = max(1, shards)
        self.revision = 0
        self.clients: dict[bytes, str] = {
            client_identity(node_id): "client",
            system_identity(node_id): "caxton",
        }
        self.agents: dict[bytes, AgentRecord] = {}
        self._by_slug: dict[str, bytes] = {}
        self._providers: dict[str, dict[bytes, None]] = {}
        self.strategies: dict[str, Strategy] = {}
        """Of the capabilities that were given one."""
        self.offers = Offers(self.records, self.strategies, strategy)
        self.entry_revision = 0
        self.states: dict[bytes, StateRecord] = {}
        self.routes: dict[bytes, RouteRecord] = {}
        self.registered: dict[bytes, ClientRecord] = {}
        """Client identities that were registered."""
        self._clients_by_name: dict[str, bytes] = {}
        self.beats: dict[int, BeatRecord] = {}
        self.refresh: Callable[[], None] = lambda: None
        """Reads what is new in the registry."""
        self._clock = clock
        self._unknown: dict[bytes, float] = {}
        self.own: int | None = None
        """The shard whose agents run in this process."""
        self.silent: frozenset[int] = frozenset()
        """Shards that do not answer: their agents are passed over."""

    def apply(self, records: Iterable[AgentRecord]) -> list[AgentRecord]:
        """Take in changed records; returns those that were new to this directory."""
        changed = []
        for record in records:
            known = self.agents.get(record.id)
            if known is not None and known.revision >= record.revision:
                continue
            self._forget(known)
            self.revision = max(self.revision, record.revision)
            changed.append(record)
            if record.removed:
                continue
            self.agents[record.id] = record
            self._by_slug[slug(record.name)] = record.id
            for capability in record.capabilities:
                self._providers.setdefault(capability, {})[record.id] = None
        if changed:
            self.offers.changed()
        return changed

    def follow(self, registry: Registry) -> list[AgentRecord]:
        """Take in what changed in the registry; returns the agents that did."""
        self.entry_revision, entries = registry.entries_since(self.entry_revision)
        self.take(entries)
        return self.apply(registry.since(self.revision))

    def take(self, entries: Iterable[Entry]) -> None:
        """Take in changed entries."""
        for entry in entries:
            if isinstance(entry, StateRecord):
                self._state(entry)
            elif isinstance(entry, RouteRecord):
                self._route(entry)
            elif isinstance(entry, ClientRecord):
                self._client(entry)
            elif isinstance(entry, StrategyRecord):
                self.strategies.pop(entry.capability, None)
                if entry.strategy:
                    self.strategies[entry.capability] = Strategy(entry.strategy)
            else:
                self.beats[entry.shard] = entry
        self.offers.changed()

    def _state(self, entry: StateRecord) -> None:
        known = self.states.get(entry.id)
        if known is not None and self.own is not None and self.shard(entry.id) == self.own:
            # The registry knows later than the agent's own shard does.
            entry = msgspec.structs.replace(known, stopped=entry.stopped)
        self.states[entry.id] = entry

    def note(self, state: StateRecord) -> None:
        """An agent of this process changed its state."""
        self.states[state.id] = state
        self.offers.changed()

    def _route(self, entry: RouteRecord) -> None:
        if entry.removed:
            self.routes.pop(entry.agent_id, None)
        else:
            self.routes[entry.agent_id] = entry

    def _client(self, entry: ClientRecord) -> None:
        if entry.removed:
            self.registered.pop(entry.id, None)
            self._clients_by_name.pop(entry.name, None)
            self.clients.pop(entry.id, None)
        else:
            self.registered[entry.id] = entry
            self._clients_by_name[entry.name] = entry.id
            self.clients[entry.id] = entry.name

    def heard(self, silent: frozenset[int]) -> None:
        """Which shards do not answer now."""
        if silent != self.silent:
            self.silent = silent
            self.offers.changed()

    def able(self, record: AgentRecord) -> bool:
        """Whether an agent takes messages, as far as this process knows.

        An agent of which nothing was told yet is taken to be starting.
        """
        if not record.in_service:
            return False
        state = self.states.get(record.id)
        return state is None or not (state.stopped or state.state in _OUT)

    def _forget(self, record: AgentRecord | None) -> None:
        if record is None:
            return
        self.agents.pop(record.id, None)
        self._by_slug.pop(slug(record.name), None)
        for capability in record.capabilities:
            providers = self._providers.get(capability, {})
            providers.pop(record.id, None)
            if not providers:
                self._providers.pop(capability, None)

    def shard(self, identity: bytes) -> int:
        """The shard that an id lives on."""
        return shard_of(identity, self.shards)

    def known(self, identity: bytes) -> bool:
        """Whether an id is an agent or a client.

        The registry may be ahead of this process: it is read again, at most once a second for an
        id that it does not have either.
        """
        if identity in self.agents or identity in self.clients:
            return True
        now = self._clock()
        if self._unknown.get(identity, 0.0) > now:
            return False
        self.refresh()
        if identity in self.agents or identity in self.clients:
            return True
        if len(self._unknown) >= UNKNOWN:
            self._unknown.clear()
        self._unknown[identity] = now + UNKNOWN_S
        return False

    def providers(self, capability: str) -> list[bytes]:
        """Agents that are in service and offer ``capability``."""
        return [one.id for one in self.records(capability)]

    def records(self, capability: str) -> list[AgentRecord]:
        """The records of those agents; of those on silent shards only when there are no others."""
        offering = (self.agents[one] for one in self._providers.get(capability, ()))
        found = [one for one in offering if self.able(one)]
        if self.silent:
            return [one for one in found if self.shard(one.id) not in self.silent] or found
        return found

    def offering(self, capability: str) -> list[bytes]:
        """Every registered agent that offers a capability, able or not."""
        return list(self._providers.get(capability, ()))

    def capabilities(self) -> list[str]:
        """Every capability that a registered agent offers, in order."""
        return sorted(self._providers)

    def name(self, identity: bytes) -> str:
        """The name of an agent or client, or the id as text."""
        record = self.agents.get(identity)
        if record is not None:
            return record.name
        client = self.clients.get(identity)
        return format_id(identity) if client is None else client

    def near(self, name: str) -> str:
        """A hint with the nearest agent names, for an error text."""
        names = {slug(one.name): one.name for one in self.agents.values()}
        found = difflib.get_close_matches(slug(name)[:100], names, n=3, cutoff=0.5)
        return f"; near: {', '.join(names[one] for one in found)}" if found else ""

    def near_capability(self, capability: str) -> str:
        """A hint for an error text: the nearest capabilities, or the versions that are offered."""
        name, versions = split_capability(capability)
        offered = sorted({one.capability_version(name) for one in self.records(name)})
        if versions and offered:
            return f"; offered here: {', '.join(f'{name}@{one}' for one in offered[:5])}"
        capability = name
        found = difflib.get_close_matches(capability, self._providers, n=3, cutoff=0.4)
        names = found or sorted(self._providers)[:5]
        return f"; offered here: {', '.join(names)}" if names else ""

    def resolve(self, name_or_id: object, field: str = "receiver") -> bytes:
        """The id of an agent's name (any case, kebab or camel), a client's name, or an id's text.

        Raises:
            AgentNotFound: nothing has this name.
            ValidationError: it is no text.
        """
        if not isinstance(name_or_id, str) or not name_or_id:
            raise ValidationError(field=field, value=name_or_id, allowed="an agent's name or id")
        found = self._by_slug.get(slug(name_or_id)) or self._clients_by_name.get(name_or_id)
        if found is not None:
            return found
        if _ID.fullmatch(name_or_id):
            return parse_id(name_or_id, field)
        raise AgentNotFound(agent=name_or_id, near=self.near(name_or_id))
