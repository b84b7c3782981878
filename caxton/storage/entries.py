"""What the registry holds besides agent files: states, routes, clients, strategies, heartbeats.

Each is one record under one key; the newest replaces the one before.
"""

from __future__ import annotations

import msgspec

__all__ = [
    "BeatRecord",
    "ClientRecord",
    "Entry",
    "RouteRecord",
    "StateRecord",
    "StrategyRecord",
    "entry_key",
]


class StateRecord(msgspec.Struct, array_like=True, frozen=True, tag="state"):
    """Where an agent is in its life, and where its operator wants it."""

    id: bytes
    state: str
    since: int
    """Milliseconds since 1970."""
    reason: str = ""
    """Why it is there, when that was not asked for."""
    stopped: bool = False
    """Whether its operator wants it out of service, over every restart until it is started."""


class RouteRecord(msgspec.Struct, array_like=True, frozen=True, tag="route"):
    """Where the messages of an agent go."""

    agent_id: bytes
    node_id: bytes
    shard: int
    hops: int
    """0 for an agent of this node."""
    updated_at: int
    """Milliseconds since 1970."""
    removed: bool = False


class ClientRecord(msgspec.Struct, array_like=True, frozen=True, tag="client"):
    """A client identity: it sends, and reads its replies from their conversations."""

    id: bytes
    name: str
    created_at: int
    """Milliseconds since 1970."""
    updated_at: int
    metadata: dict[str, str] = {}
    removed: bool = False


class StrategyRecord(msgspec.Struct, array_like=True, frozen=True, tag="strategy"):
    """How a provider of a capability is chosen."""

    capability: str
    strategy: str
    """Empty for the node's default."""
    updated_at: int


class BeatRecord(msgspec.Struct, array_like=True, frozen=True, tag="beat"):
    """The last heartbeat of a shard, which speaks for its agents."""

    shard: int
    at: int
    """Milliseconds since 1970."""
    agents: int


Entry = StateRecord | RouteRecord | ClientRecord | StrategyRecord | BeatRecord


def entry_key(entry: Entry) -> bytes:
    """The key that an entry is kept under."""
    if isinstance(entry, StateRecord):
        return b"s" + entry.id
    if isinstance(entry, RouteRecord):
        return b"r" + entry.agent_id
    if isinstance(entry, ClientRecord):
        return b"c" + entry.id
    if isinstance(entry, StrategyRecord):
        return b"p" + entry.capability.encode()
    return b"b" + entry.shard.to_bytes(4, "big")
