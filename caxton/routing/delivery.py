"""Delivery: from a chosen agent to its handled mark, with windows, retries and dead letters.

Each agent has a window of messages that are with it and not settled. What exceeds the window waits
here by priority, at first as objects and past ``KEPT`` as bare sequence numbers: the journal has
the rest. Temporary failures come again after a back-off; what fails for good becomes a dead letter
and a FAILURE to its sender. The window of an agent that is out of service is closed: what comes
waits, up to a limit, until the agent is back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from caxton.agents.directory import Directory
from caxton.errors import (
    AgentNotFound,
    AgentNotResponding,
    AgentOffline,
    CaxtonError,
    CircuitOpen,
    PoisonMessage,
    Postponed,
    QueueFull,
)
from caxton.message import Message
from caxton.routing.accepted import Accepted
from caxton.routing.away import Away
from caxton.routing.breakers import Breakers, works
from caxton.routing.deadlines import overdue
from caxton.routing.due import Due
from caxton.routing.loads import Loads
from caxton.routing.ports import LocalAgents, RemoteShards
from caxton.routing.queues import AgentQueue, Waiting
from caxton.routing.reasons import temporary
from caxton.routing.resending import Resending
from caxton.routing.retries import LONGEST_S, Retries, Retrying
from caxton.routing.trials import Trials
from caxton.types import format_id

__all__ = ["Delivery"]

AT_ONCE = 128
"""Messages that waited for an agent and are handled without letting others have their turn."""
MOVES = (AgentNotFound, AgentNotResponding, AgentOffline, CircuitOpen, QueueFull)
"""What ails the provider and not the message: another provider is asked."""
PAST_S = 0.05
"""A retry comes so much later than the breaker lets one through, so that it finds it so."""
LOOK_S = 1.0
"""Between two looks whether an agent that was out of service is back. The registry tells too."""


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
        on_trial: notes the suspects that are delivered here, then calls back; see ``Trials``.
        other: another provider for a message to a capability, when there is one.
        retries: how soon what failed comes again.
        offline_limit: messages that wait for an agent out of service, in this shard.
        breakers: of the agents that fail.
        slow_s: handling that takes longer counts as a failure for the breaker.
        now_ms: milliseconds since 1970.
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
        on_trial: Callable[[int, int, Callable[[], None]], None],
        other: Callable[[Accepted], bytes | None],
        retries: Retrying,
        offline_limit: int,
        breakers: Breakers,
        slow_s: float,
        now_ms: Callable[[], int],
    ) -> None:
        self._directory = directory
        self._agents = directory.agents
        self._shard = shard
        self._local = local
        self._window = window
        self._settled = settled
        self._buried = buried
        self._retrying = retrying
        self._queues: dict[bytes, AgentQueue] = {}
        self._offline_limit = offline_limit
        self._breakers = breakers
        self._slow_s = slow_s
        self._now_ms = now_ms
        self._waiting = Waiting(reload, now_ms, self._late)
        self._looks: Due[bytes] = Due(self._look)
        self._looking: set[bytes] = set()
        self.retries = Retries(retries, self._again)
        self.trials = Trials(shard, on_trial, self.deliver)
        self._other = other
        self.loads = Loads(self._queues, window)
        self.away = Away(remote)
        """What other shards have in hand."""
        self._resending = Resending(
            self.away, self.trials, self.retries, self._waiting, self._queues,
            release=self._release, convict=self.convict,
        )  # fmt: skip
        self._stopped, self._suspects = self.retries.lanes, self.trials.lanes

    def deliver(self, accepted: Accepted, agent_id: bytes) -> None:
        """Send ``accepted`` to an agent, now or when it has room."""
        accepted.target = agent_id
        if self._stopped and self.retries.stopped(accepted, agent_id):
            self._waiting.watch(accepted)
            if self._suspects:
                self.trials.left(accepted, self._directory.shard(agent_id))
            return
        if (self._suspects or accepted.deaths) and self.trials.takes(
            accepted, agent_id, self._directory.shard(agent_id)
        ):
            return
        queue = self._queues.get(agent_id) or self._queue(agent_id)
        if queue.flying < queue.window and not queue.count:
            queue.flying += 1
            self._send(accepted, agent_id, queue.shard)
            return
        if self._suspects and (queue.offline or not queue.room):
            self.trials.left(accepted, queue.shard)
        if not queue.room:
            self._broken(accepted, agent_id)
        elif queue.offline and queue.count >= self._offline_limit and accepted.delivery_count == 1:
            name = self._directory.name(agent_id)
            self._buried(
                accepted,
                QueueFull(
                    queue=f"the queue of `{name}`, which is out of service,",
                    depth=queue.count,
                    limit=self._offline_limit,
                ),
                "",
            )
        else:
            self._waiting.add(queue, accepted)

    def _queue(self, agent_id: bytes) -> AgentQueue:
        found = self._queues.get(agent_id)
        if found is None:
            room = self._breakers.room(agent_id, self._window)
            shard = self._directory.shard(agent_id)
            found = self._queues[agent_id] = AgentQueue(room, shard)
        return found

    def _broken(self, accepted: Accepted, agent_id: bytes) -> None:
        """The breaker of the agent is open: the message comes again when it lets one through."""
        left = max(1, int(self._breakers.left_s(agent_id) * 1_000))
        error = CircuitOpen(target=self._directory.name(agent_id), retry_after_ms=left)
        if not self._moved(accepted, agent_id, error):
            self._retry(accepted, agent_id, error, "")

    def _again(self, accepted: Accepted, agent_id: bytes) -> None:
        """A message comes again."""
        if self._waiting.timed:
            self._waiting.timed.pop(accepted.sequence, None)
        self.deliver(accepted, agent_id)

    def _late(self, accepted: Accepted, error: CaxtonError) -> None:
        """The deadline of a message passed while it waited."""
        agent_id = accepted.target or b""
        if not self.retries.drop(accepted, agent_id):
            self._waiting.remove(self._queues[agent_id], accepted)
        if self._suspects:
            self.trials.left(accepted, self._directory.shard(agent_id))
        self._buried(accepted, error, "")

    def _send(self, accepted: Accepted, agent_id: bytes, shard: int) -> None:
        if self.loads.timing:
            self.loads.speeds.sent(accepted, agent_id)
        if accepted.trace is not None:
            accepted.trace.sent()
        if shard == self._shard:
            if not self._local.put(agent_id, accepted):
                text = format_id(agent_id)
                error = AgentNotFound(agent=text, near=self._directory.near(text))
                accepted.failed(error, "")
            return
        self.away.send(shard, accepted)

    def resend(self, shard: int) -> int:
        """Deliver again what ``shard`` lost when its process died."""
        return self._resending.run(shard)

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
        self._go_on(queue, agent_id)

    def _go_on(self, queue: AgentQueue, agent_id: bytes) -> None:
        """Send what waits for an agent; forget the empty queue of one that is no more."""
        if queue.count:
            self._fill(queue, agent_id)
        elif not queue.flying and agent_id not in self._agents and not queue.offline:
            self._queues.pop(agent_id, None)

    def _fill(self, queue: AgentQueue, agent_id: bytes) -> None:
        """Send what waits for an agent, as far as there is room."""
        if queue.sending:
            # An agent that gives a message back at once came here again.
            return
        queue.sending = True
        left = AT_ONCE
        try:
            while queue.count and queue.flying < queue.window and left:
                following = self._waiting.take(queue, agent_id)
                if following is None or (
                    (self._stopped or self._suspects) and self._stays(following, agent_id, queue)
                ):
                    continue
                flying = queue.flying
                queue.flying += 1
                self._send(following, agent_id, queue.shard)
                # Those that take their time are as many as the window has room for.
                left -= queue.flying <= flying
        finally:
            queue.sending = False
        if not left:
            queue.sending = True
            asyncio.get_running_loop().call_soon(self._fill_on, queue, agent_id)

    def _stays(self, accepted: Accepted, agent_id: bytes, queue: AgentQueue) -> bool:
        """Whether one that there is room for has to stand behind others of its lane."""
        if self._stopped and self.retries.barred(accepted, agent_id):
            self._waiting.watch(accepted)
            self.trials.left(accepted, queue.shard)
            return True
        lane = (accepted.message.conversation_id, agent_id)
        return lane in self._suspects and self.trials.takes(accepted, agent_id, queue.shard)

    def _fill_on(self, queue: AgentQueue, agent_id: bytes) -> None:
        queue.sending = False
        self._go_on(queue, agent_id)

    def done(self, accepted: Accepted, outputs: Sequence[Message]) -> None:
        """The agent handled it."""
        agent_id = accepted.target
        if agent_id is not None:
            queue = self._queues[agent_id]
            if self.loads.timing:
                self.loads.speeds.settled(accepted, agent_id)
            if accepted.took_s > self._slow_s:
                queue.failures += 1
                reason = f"took {accepted.took_s:,.1f} s, longer than {self._slow_s:g} s"
                self._breakers.failed(agent_id, reason, slow=True)
            elif queue.failures:
                queue.failures = 0
                self._breakers.succeeded(agent_id)
            if queue.offline:
                self._open(queue)
            queue.flying -= 1
            if self._suspects:
                self.trials.ended(accepted, queue.shard)
            self._settled(accepted, outputs)
            if queue.count or not (queue.flying or agent_id in self._agents):
                self._go_on(queue, agent_id)
        else:
            self._settled(accepted, outputs)

    def failed(self, accepted: Accepted, error: CaxtonError, traceback: str) -> None:
        """The agent could not handle it; try again later or bury it."""
        agent_id = accepted.target
        if agent_id is None:
            self._buried(accepted, error, traceback)
            return
        if isinstance(error, AgentOffline | AgentNotFound):
            if agent_id in self._directory.agents:
                self._unserved(accepted, agent_id, error)
                return
            text = format_id(agent_id)
            error = AgentNotFound(agent=text, near=self._directory.near(text))
        queue = self._queues[agent_id]
        if queue.offline and not isinstance(error, AgentNotFound):
            self._open(queue)
        queue.flying -= 1
        if self._suspects:
            proven = not isinstance(error, Postponed)
            (self.trials.ended if proven else self.trials.left)(accepted, queue.shard)
        self._fate(accepted, agent_id, error, traceback)
        # After it: what follows it may not come before what it becomes.
        self._go_on(queue, agent_id)

    def _fate(
        self, accepted: Accepted, agent_id: bytes, error: CaxtonError, traceback: str
    ) -> None:
        """What becomes of a message that failed: it comes again, goes elsewhere or is dead."""
        if isinstance(error, Postponed):
            accepted.resumes = bytes.fromhex(str(error.fields["after"]))
            accepted.delivery_count += 1
            self.deliver(accepted, agent_id)
            return
        late = overdue(accepted.message, self._now_ms())
        if late is not None:
            self._buried(accepted, late, traceback)
            return
        self._queue(agent_id).failures += 1
        verdict = works(error)
        if verdict is False:
            self._breakers.failed(agent_id, str(error))
        elif verdict:
            self._breakers.succeeded(agent_id)
        if not self._moved(accepted, agent_id, error):
            self._retry(accepted, agent_id, error, traceback)

    def _retry(
        self, accepted: Accepted, agent_id: bytes, error: CaxtonError, traceback: str
    ) -> None:
        """Have a message come again, unless its tries are used up."""
        accepted.refused = ()
        accepted.attempts += 1
        tries = accepted.message.delivery_options.max_retries
        if not temporary(error) or accepted.attempts > tries:
            self._buried(accepted, error, traceback)
            return
        delay_s = self.retries.delay_s(accepted.attempts)
        left_s = self._breakers.left_s(agent_id)
        if left_s:
            delay_s = max(delay_s, left_s + PAST_S)
        self._retrying(accepted, delay_s)
        self.later(accepted, agent_id, delay_s)

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

    def resume(self, accepted: Accepted, agent_id: bytes) -> None:
        """A message that waited for its next try when the shard ended waits on."""
        left_s = (accepted.due - self._now_ms()) / 1_000
        accepted.due = 0
        # No breaker is open after a start, so nothing waits longer than a retry may, whatever
        # the wall clock said when its due time was written.
        self.later(accepted, agent_id, min(left_s, LONGEST_S))

    def later(self, accepted: Accepted, agent_id: bytes, delay_s: float) -> None:
        """Have a message come again in ``delay_s``."""
        accepted.target = agent_id
        self._waiting.watch(accepted)
        self.retries.stop(accepted, agent_id, max(0.0, delay_s))

    # --- agents out of service ---------------------------------------------------------------

    def _unserved(self, accepted: Accepted, agent_id: bytes, error: CaxtonError) -> None:
        """An agent is out of service and gave a message back: it waits, and is not charged."""
        queue = self._queues[agent_id]
        queue.flying -= 1
        queue.offline = True
        queue.window = 0
        self._look_again(agent_id)
        if self._suspects:
            self.trials.closed(agent_id, queue.shard)
        if self._moved(accepted, agent_id, error):
            return
        accepted.refused = ()
        accepted.resumes = b""
        self._waiting.add(queue, accepted)

    def _look_again(self, agent_id: bytes) -> None:
        if agent_id not in self._looking:
            self._looking.add(agent_id)
            self._looks.add(LOOK_S, agent_id)

    def look(self) -> None:
        """See now which agents are back; otherwise it is seen within a second."""
        for agent_id in list(self._looking):
            self._probe(agent_id)

    def _look(self, agent_id: bytes) -> None:
        self._looking.discard(agent_id)
        if self._probe(agent_id):
            self._look_again(agent_id)

    def _probe(self, agent_id: bytes) -> bool:
        """See with one message whether an agent is back. Whether it is still to be looked for."""
        queue = self._queues.get(agent_id)
        if queue is None or not queue.offline:
            return False
        if not queue.count and not queue.flying:
            del self._queues[agent_id]
            return False
        queue.window = min(1, queue.room)
        self._fill(queue, agent_id)
        return True

    def _open(self, queue: AgentQueue) -> None:
        queue.offline = False
        queue.window = queue.room

    def breaker_moved(self, agent_id: bytes) -> None:
        """Let through what the breaker of an agent lets through now."""
        queue = self._queues.get(agent_id)
        if queue is None:
            return
        queue.room = self._breakers.room(agent_id, self._window)
        if self._suspects and not queue.room:
            self.trials.closed(agent_id, queue.shard)
        if not queue.offline:
            queue.window = queue.room
            self._fill(queue, agent_id)

    def changed(self, agent_id: bytes) -> None:
        """The registration of an agent changed: what waits for it is sent, or has no receiver."""
        queue = self._queues.get(agent_id)
        if queue is None:
            return
        if queue.offline:
            self._open(queue)
        self._go_on(queue, agent_id)

    def close(self) -> None:
        """Stop retrying; what is pending stays in the journal."""
        self.retries.close()
        self._waiting.close()
        self._looks.close()
