"""What becomes of the deliveries that a shard lost when its process died."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from caxton.routing.accepted import Accepted
from caxton.routing.away import Away
from caxton.routing.queues import AgentQueue, Waiting
from caxton.routing.retries import Retries, sequence_of
from caxton.routing.trials import KILLS, Lane, Trials

__all__ = ["Resending"]


class Resending:
    """Sends again what is to be handled now, and has the rest wait for its turn.

    Args:
        away: what the other shards have.
        trials: of those that may have been the cause.
        retries: whose stopped lanes nothing passes.
        waiting, queues: what waits for room at the agents.
        release: gives the place of a message at its agent back.
        convict: ends a message that is proven to be the cause.
    """

    def __init__(
        self,
        away: Away,
        trials: Trials,
        retries: Retries,
        waiting: Waiting,
        queues: Mapping[bytes, AgentQueue],
        *,
        release: Callable[[bytes], None],
        convict: Callable[[Accepted], None],
    ) -> None:
        self._away = away
        self._trials = trials
        self._retries = retries
        self._waiting = waiting
        self._queues = queues
        self._release = release
        self._convict = convict

    def run(self, shard: int) -> int:
        """The process of ``shard`` died and there is another; returns how much it had lost."""
        lost = sorted(self._away.at(shard), key=sequence_of)
        seen = [one for one in lost if self._away.saw(one)]
        guilty, again = self._trials.died(shard, seen)
        self._retries.bar({key for key, queue in self._queues.items() if queue.shard == shard})
        for accepted in lost:
            accepted.delivery_count += 1
        for accepted in seen:
            accepted.deaths += 1
        convicted = guilty if guilty is not None and guilty.kills >= KILLS else None
        if convicted is not None:
            self._trials.left(convicted, shard)
        back = {
            one.sequence: one
            for one in lost
            if one is not convicted and (one.sequence in again or self._stays(one, shard))
        }
        first: dict[Lane, int] = {}
        for one in back.values():
            lane = (one.message.conversation_id, one.target or b"")
            first[lane] = min(one.sequence, first.get(lane, one.sequence))
        flying = {one.sequence: one for one in lost if one.sequence not in back}
        back.update((one.sequence, one) for one in self._trials.aside(shard, first, flying))
        for accepted in lost:
            if accepted.sequence in back or accepted is convicted:
                self._away.drop(shard, accepted)
            else:
                self._away.again(shard, accepted)
        # When all of them stand where they wait: a place that is free is taken at once.
        for accepted in back.values():
            self._release(accepted.target or b"")
        if convicted is not None:
            self._convict(convicted)
        return len(lost)

    def _stays(self, accepted: Accepted, shard: int) -> bool:
        agent_id = accepted.target or b""
        if self._retries.lanes and self._retries.stopped(accepted, agent_id):
            self._waiting.watch(accepted)
            self._trials.left(accepted, shard)
            return True
        if self._trials.takes(accepted, agent_id, shard):
            return True
        # The process that would not have taken it before an earlier one that failed is dead.
        queue = self._queues[agent_id]
        if not self._waiting.earlier(queue, accepted):
            return False
        self._waiting.add(queue, accepted)
        return True
