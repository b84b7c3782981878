"""Retries: messages that come again, without being overtaken by later ones of their conversation.

Order holds per conversation and agent, which is called a lane here. A message that failed for the
moment stops its lane until it is due; what comes meanwhile, or comes back because the agent waits
for that message, stands behind it. Attempts and due times are in the journal too, so that a restart
neither forgets nor repeats them.
"""

from __future__ import annotations

import bisect
import random
from collections.abc import Callable, Container
from dataclasses import dataclass

from caxton.routing.accepted import Accepted
from caxton.routing.due import Due

__all__ = ["LONGEST_S", "Lane", "Retries", "Retrying", "sequence_of"]

AT_ONCE = 128
"""Messages of a lane that go on without letting others have their turn."""
JITTER = 0.2
MAX_DELAY_S = 30.0
LONGEST_S = MAX_DELAY_S * (1 + JITTER)
"""No retry is later than that, unless for a breaker."""

Key = tuple[bytes, bytes]
"""Conversation and agent."""


class Lane:
    """A stopped lane: what waits in it, in order of acceptance, and when it goes on."""

    __slots__ = ("barred", "turn", "waiting")

    def __init__(self) -> None:
        self.waiting: list[Accepted] = []
        self.turn = 0
        """Which of the due times of the shard is this lane's; earlier ones of it are void."""
        self.barred = False
        """Whether later ones have to be held back here: the process that knew of it is dead."""


@dataclass(frozen=True, slots=True)
class Retrying:
    """How soon what failed comes again: after ``delay_ms``, each further time ``factor`` times as
    late, up to 30 s, with up to a fifth more or less."""

    delay_ms: int
    factor: float = 2.0

    def delay_s(self, attempts: int) -> float:
        """Before the next delivery of a message that failed ``attempts`` times."""
        delay = min(MAX_DELAY_S, self.delay_ms / 1_000 * self.factor ** (attempts - 1))
        return delay * random.uniform(1 - JITTER, 1 + JITTER)


class Retries:
    """The stopped lanes of one shard.

    Args:
        retrying: how soon a lane goes on.
        deliver: sends a message to its agent.
    """

    def __init__(self, retrying: Retrying, deliver: Callable[[Accepted, bytes], None]) -> None:
        self._retrying = retrying
        self._deliver = deliver
        self.lanes: dict[Key, Lane] = {}
        """The stopped ones, by conversation and agent."""
        self._due: Due[tuple[Key, int]] = Due(self._come)
        self._turn = 0

    def __len__(self) -> int:
        """Messages in stopped lanes."""
        return sum(len(lane.waiting) for lane in self.lanes.values())

    def delay_s(self, attempts: int) -> float:
        """Before the next delivery of a message that failed ``attempts`` times."""
        return self._retrying.delay_s(attempts)

    def stopped(self, accepted: Accepted, agent_id: bytes) -> bool:
        """Whether the lane of a message is stopped; then it waits in it."""
        lane = self.lanes.get((accepted.message.conversation_id, agent_id))
        if lane is None:
            return False
        accepted.resumes = b""
        bisect.insort(lane.waiting, accepted, key=sequence_of)
        return True

    def bar(self, agents: Container[bytes]) -> None:
        """The process of these agents died, which took nothing later of the stopped lanes."""
        for (_, agent_id), lane in self.lanes.items():
            lane.barred = lane.barred or agent_id in agents

    def barred(self, accepted: Accepted, agent_id: bytes) -> bool:
        """Whether a message that waited for room has to stand in its lane, and then does."""
        lane = self.lanes.get((accepted.message.conversation_id, agent_id))
        return lane is not None and lane.barred and self.stopped(accepted, agent_id)

    def stop(self, accepted: Accepted, agent_id: bytes, delay_s: float) -> None:
        """A message failed for the moment: its lane goes on with it in ``delay_s``."""
        key = (accepted.message.conversation_id, agent_id)
        lane = self.lanes.get(key)
        if lane is None:
            lane = self.lanes[key] = Lane()
        accepted.resumes = b""
        bisect.insort(lane.waiting, accepted, key=sequence_of)
        if not lane.turn or lane.waiting[0] is accepted:
            self._turn += 1
            lane.turn = self._turn
            self._due.add(delay_s, (key, lane.turn))

    def drop(self, accepted: Accepted, agent_id: bytes) -> bool:
        """Take a message out of its stopped lane for good. Whether it was in one."""
        lane = self.lanes.get((accepted.message.conversation_id, agent_id))
        if lane is None or accepted not in lane.waiting:
            return False
        lane.waiting.remove(accepted)
        return True

    def _come(self, due: tuple[Key, int]) -> None:
        key, turn = due
        lane = self.lanes.get(key)
        if lane is None or lane.turn != turn:
            return
        del self.lanes[key]
        for number, accepted in enumerate(lane.waiting):
            if number == AT_ONCE and key not in self.lanes:
                # The others may be handled at once too, and everyone else has to wait for that.
                lane.waiting = lane.waiting[number:]
                self.lanes[key] = lane
                self._turn += 1
                lane.turn = self._turn
                self._due.add(0.0, (key, lane.turn))
                return
            accepted.delivery_count += 1
            self._deliver(accepted, key[1])

    def close(self) -> None:
        """Stop; what is pending stays in the journal."""
        self._due.close()
        self.lanes.clear()


def sequence_of(accepted: Accepted) -> int:
    """Its number: in a lane they go by it."""
    return accepted.sequence
