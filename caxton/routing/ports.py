"""Where deliveries go: the agents of this process, and the other shards."""

from __future__ import annotations

from typing import Protocol

from caxton.routing.accepted import Accepted, Handling

__all__ = ["LocalAgents", "RemoteShards"]


class LocalAgents(Protocol):
    """The agents of this process."""

    def put(self, agent_id: bytes, handling: Handling) -> bool:
        """Give a message to an agent's mailbox; False when it is not here."""
        ...


class RemoteShards(Protocol):
    """The other shards."""

    def deliver(self, shard: int, accepted: Accepted) -> None:
        """Have the agent's shard handle it; the outcome comes back as done or failed."""
        ...

    def reachable(self, shard: int) -> bool:
        """Whether an outcome can come from a shard now."""
        ...

    def unanswered(self) -> int:
        """Submissions to shards that can be reached, of which the outcome is to come."""
        ...
