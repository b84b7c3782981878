"""Which agent serves a capability: priority × health × (1 − load), sticky per conversation."""

from __future__ import annotations

from collections.abc import Callable

from caxton.agents.directory import Directory
from caxton.conversations.record import ConversationRecord
from caxton.errors import NoCapabilityProviders

__all__ = ["CapabilityResolver"]


class CapabilityResolver:
    """Chooses a provider of a capability.

    Args:
        directory: who offers what.
        load: share of its queue that an agent has in use, 0 to 1, as this shard sees it.
        health: 1 for an agent that works, less after failures.
    """

    def __init__(
        self,
        directory: Directory,
        load: Callable[[bytes], float],
        health: Callable[[bytes], float],
    ) -> None:
        self._directory = directory
        self._load = load
        self._health = health
        self._turn = 0

    def choose(self, capability: str, record: ConversationRecord, sender: bytes) -> bytes:
        """The provider for this conversation: the one it has, or the best there is now.

        An agent never serves its own request.

        Raises:
            NoCapabilityProviders: nobody in service offers it; the text names what is near.
        """
        providers = self._directory.providers(capability)
        held = record.assigned.get(capability)
        if held is not None and held in providers and held != sender:
            return held
        candidates = [one for one in providers if one != sender]
        if not candidates:
            raise NoCapabilityProviders(
                capability=capability, near=self._directory.near_capability(capability)
            )
        if len(candidates) == 1:
            chosen = candidates[0]
        else:
            # Equal scores take turns, so that idle providers share the work.
            self._turn += 1
            start = self._turn % len(candidates)
            turned = candidates[start:] + candidates[:start]
            chosen = max(turned, key=self.score)
        record.assign(capability, chosen)
        return chosen

    def score(self, agent_id: bytes) -> float:
        """How well an agent would serve now; higher is better."""
        return self._health(agent_id) * (1.0 - min(1.0, self._load(agent_id)))
