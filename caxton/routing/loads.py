"""What a choice among providers may ask of a shard's delivery: load, health and speed of agents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from caxton.routing.queues import AgentQueue
from caxton.routing.speeds import Speeds

__all__ = ["Loads"]


class Loads:
    """A view of the queues of one shard.

    Args:
        queues: of the agents that have messages or failed lately.
        window: messages with an agent at once.
    """

    def __init__(self, queues: Mapping[bytes, AgentQueue], window: int) -> None:
        self._queues = queues
        self._window = window
        self.speeds = Speeds()
        self.timing = False
        """Whether the speed of any agent is measured."""

    @property
    def waiting(self) -> int:
        """Messages that wait for room at their agents."""
        return sum(queue.count for queue in self._queues.values())

    @property
    def offline(self) -> int:
        """Messages that wait for agents out of service."""
        return sum(queue.count for queue in self._queues.values() if queue.offline)

    def depth(self, agent_id: bytes) -> int:
        """Messages of this shard that are with an agent or wait for it, without retries."""
        queue = self._queues.get(agent_id)
        return queue.flying + queue.count if queue else 0

    def load(self, agent_id: bytes) -> float:
        """Share of the agent's window in use."""
        return self.depth(agent_id) / self._window

    def health(self, agent_id: bytes) -> float:
        """1 without recent failures, halved by each failure in a row; 0 out of service."""
        queue = self._queues.get(agent_id)
        if queue is None:
            return 1.0
        if queue.offline or not queue.room:
            return 0.0
        return 0.5 ** min(queue.failures, 10)

    def blocked(self, agent_id: bytes) -> bool:
        """Whether an agent takes no more for now."""
        queue = self._queues.get(agent_id)
        if queue is None:
            return False
        return queue.flying + queue.count >= queue.window

    def expected_s(self, agent_id: bytes) -> float:
        """When one more message would be done by its agent, in seconds; 0 when unknown."""
        return self.speeds.mean_s(agent_id)

    def watch_speed(self, agents: Iterable[bytes]) -> None:
        """Measure how long messages take these agents from now on."""
        self.speeds.watch(agents)
        self.timing = True
