"""Delivery: from a chosen agent to its handled mark, with windows, retries and dead letters.

Each agent has a window of messages that are with it and not settled. What exceeds the window waits
here in order, at first as objects and past ``KEPT`` as bare sequence numbers: the journal has the
rest. Temporary failures come again after a back-off; what fails for good becomes a dead letter and
a FAILURE to its sender.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from caxton.agents.directory import Directory
from caxton.errors import (
    AgentFailed,
    AgentNotFound,
    AgentNotResponding,
    CaxtonError,
    CircuitOpen,
    PoisonMessage,
    Postponed,
    QueueFull,
)
from caxton.message import Message
from caxton.routing.accepted import Accepted, Handling
from caxton.routing.retries import Retries, Retrying
from caxton.routing.speeds import Speeds
from caxton.routing.trials import KILLS, SUSPECT, Trials
from caxton.types import format_id, parse_id

__all__ = ["Delivery", "LocalAgents", "RemoteShards"]

MOVES = (AgentNotFound, AgentNotResponding, CircuitOpen, QueueFull)
"""What ails the provider and not the message: another provider is asked."""
KEPT = 20_000
"""Waiting messages that stay in memory as objects; more wait as numbers."""


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


class _Queue:
    """What one agent has, and what waits for it."""

    __slots__ = ("failures", "flying", "waiting")

    def __init__(self) -> None:
        self.flying = 0
        self.waiting: deque[Accepted | int] = deque()
        self.failures = 0


class Delivery:
    """Delivers accepted messages of one shard.

    Args:
        directory: where agents live.
        shard: number of this shard.
        local, remote: where messages go.
        window: messages with an agent at once, from this shard.
        reload: reads a waiting message back from the journal.
        settled, buried: what ends a message (handled; dead with its last error).
        retrying: told that a message comes again after so many attempts, in so many seconds.
        on_trial: notes that a suspect is delivered, then calls back.
        other: another provider for a message to a capability, when there is one.
        retries: how soon what failed comes again.
    """

    def __init__(
        self,
        directory: Directory,
        shard: int,
        local: LocalAgents,
        remote: RemoteShards,
        *,
        window: int,
        reload: Callable[[int], Accepted | None],
        settled: Callable[[Accepted, Sequence[Message]], None],
        buried: Callable[[Accepted, CaxtonError, str], None],
        retrying: Callable[[Accepted, float], None],
        on_trial: Callable[[Accepted, Callable[[], None]], None],
        other: Callable[[Accepted], bytes | None],
        retries: Retrying,
    ) -> None:
        self._directory = directory
        self._shard = shard
        self._local = local
        self._remote = remote
        self._window = window
        self._reload = reload
        self._settled = settled
        self._buried = buried
        self._retrying = retrying
        self._queues: dict[bytes, _Queue] = {}
        self._kept = 0
        self.retries = Retries(retries, self.deliver)
        self.trials = Trials(on_trial, self.deliver)
        self._other = other
        self.speeds = Speeds()
        self._timing = False
        self._remote_flying: dict[int, dict[int, Accepted]] = {}

    @property
    def waiting(self) -> int:
        """Messages that wait for room at their agents."""
        return sum(len(queue.waiting) for queue in self._queues.values())

    def depth(self, agent_id: bytes) -> int:
        """Messages of this shard that are with an agent or wait for it, without retries."""
        queue = self._queues.get(agent_id)
        return queue.flying + len(queue.waiting) if queue else 0

    def load(self, agent_id: bytes) -> float:
        """Share of the agent's window in use."""
        return self.depth(agent_id) / self._window

    def health(self, agent_id: bytes) -> float:
        """1 without recent failures, halved by each failure in a row."""
        queue = self._queues.get(agent_id)
        return 0.5 ** min(queue.failures, 10) if queue else 1.0

    def blocked(self, agent_id: bytes) -> bool:
        """Whether an agent takes no more for now."""
        queue = self._queues.get(agent_id)
        return queue is not None and queue.flying + len(queue.waiting) >= self._window

    def expected_s(self, agent_id: bytes) -> float:
        """When one more message would be done by its agent, in seconds; 0 when unknown."""
        return self.speeds.mean_s(agent_id)

    def watch_speed(self, agents: Iterable[bytes]) -> None:
        """Measure how long messages take these agents from now on."""
        self.speeds.watch(agents)
        self._timing = True

    def deliver(self, accepted: Accepted, agent_id: bytes) -> None:
        """Send ``accepted`` to an agent, now or when it has room."""
        accepted.target = agent_id
        if self.retries and self.retries.stopped(accepted, agent_id):
            return
        if (self.trials or accepted.deaths) and self.trials.takes(
            accepted, agent_id, self._directory.shard(agent_id)
        ):
            return
        queue = self._queues.get(agent_id)
        if queue is None:
            queue = self._queues[agent_id] = _Queue()
        if queue.flying < self._window and not queue.waiting:
            queue.flying += 1
            self._send(accepted, agent_id)
        elif self._kept < KEPT:
            self._kept += 1
            queue.waiting.append(accepted)
        else:
            queue.waiting.append(accepted.sequence)

    def _send(self, accepted: Accepted, agent_id: bytes) -> None:
        if self._timing:
            self.speeds.sent(accepted, agent_id)
        shard = self._directory.shard(agent_id)
        if shard == self._shard:
            if not self._local.put(agent_id, accepted):
                error = AgentNotFound(
                    agent=format_id(agent_id), near=self._directory.near(format_id(agent_id))
                )
                self._release(agent_id)
                if not self._moved(accepted, agent_id, error):
                    self._buried(accepted, error, "")
            return
        self._remote_flying.setdefault(shard, {})[accepted.sequence] = accepted
        self._remote.deliver(shard, accepted)

    def remote(self, shard: int, sequence: int, message_id: bytes) -> Accepted | None:
        """The delivery that another shard reports on; None when it was settled already.

        A report from before this process was started may carry the number of another message.
        """
        flying = self._remote_flying.get(shard, {})
        found = flying.get(sequence)
        if found is None or found.message.message_id != message_id:
            return None
        return flying.pop(sequence)

    def resend(self, shard: int) -> int:
        """Deliver again what ``shard`` lost when its process died."""
        flying = list(self._remote_flying.get(shard, {}).values())
        guilty = self.trials.died(shard)
        for accepted in flying:
            accepted.delivery_count += 1
            accepted.deaths += 1
            if accepted is guilty and accepted.kills >= KILLS:
                self._remote_flying[shard].pop(accepted.sequence)
                self.convict(accepted)
            elif accepted is guilty or accepted.deaths < SUSPECT:
                self._remote.deliver(shard, accepted)
            else:
                # It waits for its trial, and gives its place at the agent back meanwhile.
                self._remote_flying[shard].pop(accepted.sequence)
                if accepted.target is not None:
                    self._release(accepted.target)
                    self.deliver(accepted, accepted.target)
        return len(flying)

    def convict(self, accepted: Accepted) -> None:
        """A message kills its process: it is delivered no more."""
        agent_id = accepted.target or accepted.message.receiver or b""
        error = PoisonMessage(agent=self._directory.name(agent_id), kills=accepted.kills)
        if accepted.target is not None:
            self._release(accepted.target)
            self.trials.ended(accepted, self._directory.shard(accepted.target))
        self._buried(accepted, error, "")

    def _release(self, agent_id: bytes) -> None:
        queue = self._queues[agent_id]
        queue.flying -= 1
        while queue.waiting and queue.flying < self._window:
            following = queue.waiting.popleft()
            if isinstance(following, int):
                reloaded = self._reload(following)
                if reloaded is None:
                    continue
                following = reloaded
                following.target = agent_id
            else:
                self._kept -= 1
            queue.flying += 1
            self._send(following, agent_id)
            return
        if not queue.flying and not queue.waiting and not queue.failures:
            del self._queues[agent_id]

    def done(self, accepted: Accepted, outputs: Sequence[Message]) -> None:
        """The agent handled it."""
        agent_id = accepted.target
        if agent_id is not None:
            if self._timing:
                self.speeds.settled(accepted, agent_id)
            self._queues[agent_id].failures = 0
            self._release(agent_id)
            if self.trials:
                self.trials.ended(accepted, self._directory.shard(agent_id))
        self._settled(accepted, outputs)

    def failed(self, accepted: Accepted, error: CaxtonError, traceback: str) -> None:
        """The agent could not handle it; try again later or bury it."""
        agent_id = accepted.target
        if agent_id is None:
            self._buried(accepted, error, traceback)
            return
        self._release(agent_id)
        if self.trials:
            self.trials.ended(accepted, self._directory.shard(agent_id))
        if isinstance(error, Postponed):
            accepted.resumes = parse_id(error.fields["after"], "after")
            accepted.delivery_count += 1
            self.deliver(accepted, agent_id)
            return
        queue = self._queues.get(agent_id)
        if queue is None:
            queue = self._queues[agent_id] = _Queue()
        queue.failures += 1
        if self._moved(accepted, agent_id, error):
            return
        accepted.refused = ()
        accepted.attempts += 1
        permanent = not (error.retryable or isinstance(error, AgentFailed))
        if permanent or accepted.attempts > accepted.message.delivery_options.max_retries:
            self._buried(accepted, error, traceback)
            return
        delay_s = self.retries.delay_s(accepted.attempts)
        self._retrying(accepted, delay_s)
        self.retries.stop(accepted, agent_id, delay_s)

    def _moved(self, accepted: Accepted, agent_id: bytes, error: CaxtonError) -> bool:
        """Whether a message to a capability goes to another provider, because this one cannot."""
        if accepted.message.receiver is not None or not isinstance(error, MOVES):
            return False
        accepted.refused += (agent_id,)
        other = self._other(accepted)
        if other is None:
            return False
        self.deliver(accepted, other)
        return True

    def later(self, accepted: Accepted, agent_id: bytes, delay_s: float) -> None:
        """Take up a retry that a run before this one had set."""
        accepted.target = agent_id
        self.retries.stop(accepted, agent_id, max(0.0, delay_s))

    def close(self) -> None:
        """Stop retrying; what is pending stays in the journal."""
        self.retries.close()
