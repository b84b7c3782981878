"""How long messages take the agents for whom somebody asks: a moving mean per agent."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from caxton.routing.accepted import Accepted

__all__ = ["Speeds"]

WEIGHT = 0.2
"""Of the newest message in the mean: a change shows after about ten messages."""


class Speeds:
    """From sent to handled, exponentially weighted. Measures nothing until somebody asks."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._mean: dict[bytes, float] = {}
        self._sent: dict[int, float] = {}

    def watch(self, agents: Iterable[bytes]) -> None:
        """Measure these from now on."""
        for agent in agents:
            self._mean.setdefault(agent, 0.0)

    def sent(self, accepted: Accepted, agent_id: bytes) -> None:
        """A message goes to its agent."""
        if agent_id in self._mean:
            self._sent[accepted.sequence] = self._clock()

    def settled(self, accepted: Accepted, agent_id: bytes) -> None:
        """The agent handled it."""
        since = self._sent.pop(accepted.sequence, None)
        if since is None:
            return
        took = self._clock() - since
        mean = self._mean.get(agent_id, 0.0)
        self._mean[agent_id] = mean + WEIGHT * (took - mean) if mean else took

    def mean_s(self, agent_id: bytes) -> float:
        """Seconds that a message takes this agent; 0 when none was measured yet."""
        return self._mean.get(agent_id, 0.0)
