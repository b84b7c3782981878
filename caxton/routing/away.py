"""What other shards have in hand: deliveries to their agents that are not settled yet."""

from __future__ import annotations

import asyncio

from caxton.routing.accepted import Accepted
from caxton.routing.ports import RemoteShards

__all__ = ["Away"]

RETURN_S = 0.02
"""Between two looks, at the end, whether other shards still have something."""


class Away:
    """The deliveries of one shard to the others.

    Args:
        remote: the other shards.
    """

    def __init__(self, remote: RemoteShards) -> None:
        self._remote = remote
        self._sent: dict[int, dict[int, Accepted]] = {}
        """Shard to what it has, by sequence number."""
        self._unseen: set[int] = set()
        """Those of them that were sent while there was no process."""
        self._ending = False
        self._came_back = asyncio.Event()

    def send(self, shard: int, accepted: Accepted) -> None:
        """Have another shard handle a message. At the end nothing goes out any more: who comes
        next at this journal delivers it."""
        if not self._ending:
            self._sent.setdefault(shard, {})[accepted.sequence] = accepted
            if not self._remote.reachable(shard):
                self._unseen.add(accepted.sequence)
            self._remote.deliver(shard, accepted)

    def again(self, shard: int, accepted: Accepted) -> None:
        """Send what a shard lost."""
        self._unseen.discard(accepted.sequence)
        self._remote.deliver(shard, accepted)

    def at(self, shard: int) -> list[Accepted]:
        """What a shard has."""
        return list(self._sent.get(shard, {}).values())

    def arrived(self, shard: int) -> None:
        """The link to a shard is up, to the process that is meant: it gets what waited."""
        self._unseen.difference_update(self._sent.get(shard, ()))

    def saw(self, accepted: Accepted) -> bool:
        """Whether the process of a shard may have got what was sent to it: it was there."""
        return accepted.sequence not in self._unseen

    def drop(self, shard: int, accepted: Accepted) -> None:
        """A shard has this no more, and says nothing of it."""
        self._unseen.discard(accepted.sequence)
        del self._sent[shard][accepted.sequence]

    def back(self, shard: int, sequence: int, message_id: bytes) -> Accepted | None:
        """What another shard reports on; None when it was settled already.

        A report from before this process was started may carry the number of another message.
        """
        sent = self._sent.get(shard, {})
        found = sent.get(sequence)
        if found is None or found.message.message_id != message_id:
            return None
        self._unseen.discard(sequence)
        del sent[sequence]
        if self._ending:
            self._came_back.set()
        return found

    async def returned(self, timeout_s: float) -> bool:
        """Send nothing more, and wait for what the others have; whether all came back.

        What is handled there and not marked here would be handled again after the next start.
        """
        self._ending = True
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while self._remote.unanswered() or any(
            sent and self._remote.reachable(shard) for shard, sent in self._sent.items()
        ):
            left_s = deadline - loop.time()
            if left_s <= 0:
                return False
            self._came_back.clear()
            try:
                async with asyncio.timeout(min(left_s, RETURN_S)):
                    await self._came_back.wait()
            except TimeoutError:
                # A link may be down since, or a submission answered.
                continue
        return True
