"""Trials: finding the message that kills its process, without blaming those beside it.

A message that was pending when its process died, twice, is a suspect. Suspects are delivered one
at a time to a process, and before each the journal notes which one: a death then has one cause.
What kills its process twice on trial is a dead letter (``POISON_MESSAGE``) instead of being
delivered for ever. Everyone else goes on meanwhile.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable

from caxton.routing.accepted import Accepted

__all__ = ["KILLS", "SUSPECT", "Trials"]

SUSPECT = 2
"""Deaths of its process, while it was pending, that make a message a suspect."""
KILLS = 2
"""Deaths on trial that prove it."""


class Trials:
    """The suspects of one shard, by the shard whose process they go to.

    Args:
        note: has the journal note that a message goes on trial, then calls back.
        deliver: sends a message to its agent.
    """

    def __init__(
        self,
        note: Callable[[Accepted, Callable[[], None]], None],
        deliver: Callable[[Accepted, bytes], None],
    ) -> None:
        self._note = note
        self._deliver = deliver
        self._waiting: dict[int, deque[Accepted]] = {}
        self._on_trial: dict[int, Accepted] = {}
        self.lanes: Counter[tuple[bytes, bytes]] = Counter()
        """Suspects by conversation and agent: later messages of those stand behind them."""

    def __len__(self) -> int:
        """Messages that are on trial or wait for theirs."""
        return self.lanes.total()

    def takes(self, accepted: Accepted, agent_id: bytes, shard: int) -> bool:
        """Whether a message is delivered on trial; then this does it, now or in its turn."""
        if accepted is self._on_trial.get(shard):
            return False
        lane = (accepted.message.conversation_id, agent_id)
        if accepted.deaths < SUSPECT and lane not in self.lanes:
            return False
        self.lanes[lane] += 1
        self._waiting.setdefault(shard, deque()).append(accepted)
        self._next(shard)
        return True

    def _next(self, shard: int) -> None:
        waiting = self._waiting.get(shard)
        if shard in self._on_trial or not waiting:
            return
        accepted = self._on_trial[shard] = waiting.popleft()
        self._note(accepted, lambda: self._begin(accepted))

    def _begin(self, accepted: Accepted) -> None:
        if accepted.target is not None:
            self._deliver(accepted, accepted.target)

    def ended(self, accepted: Accepted, shard: int) -> None:
        """A message was handled, failed or buried: its process lives, the next one's turn."""
        if self._on_trial.get(shard) is not accepted:
            return
        del self._on_trial[shard]
        accepted.deaths = 0
        lane = (accepted.message.conversation_id, accepted.target or b"")
        self.lanes[lane] -= 1
        if not self.lanes[lane]:
            del self.lanes[lane]
        self._next(shard)

    def died(self, shard: int) -> Accepted | None:
        """The process of another shard died; the message that was on trial there, if any."""
        accepted = self._on_trial.get(shard)
        if accepted is not None:
            accepted.kills += 1
        return accepted
