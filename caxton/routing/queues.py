"""What waits for room at agents: a queue per agent, bounded memory, and deadlines."""

from __future__ import annotations

from collections.abc import Callable

from caxton.errors import CaxtonError
from caxton.routing.accepted import Accepted
from caxton.routing.backlog import Backlog
from caxton.routing.deadlines import deadline_ms, overdue
from caxton.routing.due import Due
from caxton.types import MessagePriority

__all__ = ["KEPT", "AgentQueue", "Waiting"]

KEPT = 20_000
"""Waiting messages that stay in memory as objects; more wait as numbers."""


class AgentQueue:
    """What one agent has, and what waits for it."""

    __slots__ = (
        "_waiting",
        "count",
        "failures",
        "flying",
        "offline",
        "room",
        "sending",
        "shard",
        "window",
    )  # fmt: skip

    def __init__(self, room: int, shard: int = 0) -> None:
        self.shard = shard
        """Where the agent lives."""
        self.flying = 0
        self.room = room
        """Messages that its breaker lets be with the agent at once."""
        self.window = room
        """Messages that may be with the agent at once; 0 while it is out of service."""
        self.count = 0
        """Messages that wait."""
        self._waiting: Backlog[Accepted | int] | None = None
        self.failures = 0
        self.offline = False
        self.sending = False
        """Whether what waits is being sent just now, or will be in a moment."""

    @property
    def waiting(self) -> Backlog[Accepted | int]:
        """What waits, in its order. Made when something does: most agents keep up."""
        if self._waiting is None:
            self._waiting = Backlog(MessagePriority.NORMAL)
        return self._waiting


class Waiting:
    """Puts messages into the queues of agents and takes them out.

    Args:
        reload: reads a waiting message back from the journal.
        now_ms: milliseconds since 1970.
        late: told of a message whose deadline passed while it waited.
    """

    def __init__(
        self,
        reload: Callable[[int], Accepted | None],
        now_ms: Callable[[], int],
        late: Callable[[Accepted, CaxtonError], None],
    ) -> None:
        self.timed: dict[int, Accepted] = {}
        """What waits in memory and has a deadline, by sequence number."""
        self._reload = reload
        self._now_ms = now_ms
        self._late = late
        self._kept = 0
        self._deadlines: Due[Accepted] = Due(self._deadline)

    def add(self, queue: AgentQueue, accepted: Accepted) -> None:
        """Have a message wait for room at its agent."""
        message = accepted.message
        item: Accepted | int = accepted.sequence
        # What comes back carries what the journal does not know.
        if self._kept < KEPT or accepted.resumes or accepted.attempts or accepted.kills:
            self._kept += 1
            item = accepted
            self.watch(accepted)
        queue.count += 1
        queue.waiting.push(
            accepted.sequence, message.conversation_id, message.delivery_options.priority, item
        )

    def take(self, queue: AgentQueue, agent_id: bytes) -> Accepted | None:
        """The next message of a queue that is not empty; None when it was settled meanwhile."""
        queue.count -= 1
        item = queue.waiting.pop()
        if isinstance(item, int):
            reloaded = self._reload(item)
            if reloaded is not None:
                reloaded.target = agent_id
            return reloaded
        self._kept -= 1
        if self.timed:
            self.timed.pop(item.sequence, None)
        return item

    def earlier(self, queue: AgentQueue, accepted: Accepted) -> bool:
        """Whether one waits that came before it in its conversation."""
        return queue.count > 0 and queue.waiting.earlier(
            accepted.sequence, accepted.message.conversation_id
        )

    def remove(self, queue: AgentQueue, accepted: Accepted) -> None:
        """Take a message out of turn."""
        if queue.waiting.remove(accepted.sequence, accepted.message.conversation_id):
            queue.count -= 1
            self._kept -= 1

    def watch(self, accepted: Accepted) -> None:
        """A message begins to wait: it is told when its deadline passes before its turn."""
        ends = deadline_ms(accepted.message)
        if ends:
            self.timed[accepted.sequence] = accepted
            self._deadlines.add((ends - self._now_ms()) / 1_000, accepted)

    def _deadline(self, accepted: Accepted) -> None:
        if self.timed.get(accepted.sequence) is not accepted:
            return
        error = overdue(accepted.message, self._now_ms())
        if error is None:
            # The wall clock was set back.
            self.watch(accepted)
            return
        del self.timed[accepted.sequence]
        self._late(accepted, error)

    def close(self) -> None:
        """Tell nothing any more."""
        self._deadlines.close()
