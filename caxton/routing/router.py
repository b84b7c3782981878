"""The router actor of a shard: admit, journal, converse, resolve, deliver, settle, confirm.

A message goes one way through it and comes out settled. Every arrow carries a batch: a frame of
submissions is admitted in one turn, conversations and agents drain their mailboxes in turns, one
commit covers all that arrived meanwhile, and one frame acknowledges it.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from actors import Actor, ActorSystem
from caxton.agents.directory import Directory, system_identity
from caxton.config import Config
from caxton.conversations.open import LAG, OpenConversations
from caxton.conversations.record import ConversationRecord
from caxton.conversations.timeouts import Timeouts
from caxton.errors import CaxtonError
from caxton.message import Message, decode, encode
from caxton.observe.histogram import Histogram
from caxton.observe.message_log import MessageLog
from caxton.observe.tracing import OFF, Trace, Tracing
from caxton.routing.accepted import Accepted
from caxton.routing.admission import Admission, Buckets
from caxton.routing.answers import Answers
from caxton.routing.breakers import Breakers, Circuit
from caxton.routing.broadcast import copies, too_many
from caxton.routing.capabilities import CapabilityResolver
from caxton.routing.careful import Careful
from caxton.routing.delivery import Delivery
from caxton.routing.discovery import Discovery
from caxton.routing.ports import LocalAgents, RemoteShards
from caxton.routing.retries import Retrying
from caxton.routing.settling import Elsewhere, Settling
from caxton.routing.submission import Counters, Owed, Submission
from caxton.routing.trials import KILLS
from caxton.routing.waiters import Waiters
from caxton.storage.group_commit import GroupCommit
from caxton.storage.journal import Journal
from caxton.storage.records import Batch, DeadRecord

__all__ = ["Router", "RouterActor"]

logger = logging.getLogger("caxton.routing")

DEDUPE_WINDOW = 125_000
"""Message ids per generation that a shard remembers; two generations are kept."""


class RouterActor(Actor):
    """The mailbox in front of a router: one message is a whole frame of submissions."""

    def __init__(self, router: Router) -> None:
        super().__init__()
        self.router = router

    def on_receive(self, message: Any) -> None:
        """Take a frame of submissions."""
        self.router.submit(message)


class Router:
    """See the module. One per shard; everything it calls runs on the shard's event loop.

    Args:
        config: the node's settings.
        system: where conversation actors live.
        directory: who is there.
        shard: number of this shard.
        journal: opened and not yet recovered.
        local, remote: where deliveries go.
        elsewhere: submits messages of other shards' conversations; calls back when they are safe.
        event: tells operators something.
        tracing: which messages are traced.
        message_log: lines about messages that ended; None for none.
    """

    def __init__(
        self,
        config: Config,
        system: ActorSystem,
        directory: Directory,
        shard: int,
        journal: Journal,
        local: LocalAgents,
        remote: RemoteShards,
        elsewhere: Elsewhere,
        event: Callable[[str, str, str], None],
        clock: Callable[[], float] = time.monotonic,
        wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        tracing: Tracing = OFF,
        message_log: MessageLog | None = None,
    ) -> None:
        self.counters = Counters()
        self.routing_us = Histogram()
        self.ack_us = Histogram()
        self.disk = config.durability == "disk"
        self.max_participants = config.conversation_participants
        self.directory = directory
        self.journal = journal
        self.now_ms = wall_ms
        self._clock = clock
        self._event = event
        self.trace_with(tracing)
        self.node = system_identity(directory.node_id)
        self.admission = Admission(
            directory,
            journal,
            max_content=config.limits_message_bytes,
            max_pending=config.limits_pending,
            window=DEDUPE_WINDOW,
            buckets=(
                Buckets(config.limits_rate, config.limits_rate_burst or config.limits_rate)
                if config.limits_rate
                else None
            ),
        )
        self.commit = GroupCommit(
            journal,
            disk=self.disk,
            prepare=self._prepare,
            committed=self._committed,
            clock=clock,
        )
        self.settling = Settling(
            directory,
            shard,
            journal,
            self.counters,
            Answers(self.node, tracing),
            emit=self.emit,
            kick=self.commit.kick,
            elsewhere=elsewhere,
            event=event,
            now_ms=wall_ms,
            clock=clock,
            message_log=message_log,
        )
        self.breakers = Breakers(
            system, wall_ms, threshold=config.breaker_threshold,
            timeout_ms=config.breaker_timeout_ms, changed=self._breaker_moved,
        )  # fmt: skip
        self.delivery = Delivery(
            directory,
            shard,
            local,
            remote,
            window=config.limits_agent_queue,
            reload=self._reload,
            settled=self.settling.settle,
            buried=self.settling.bury,
            retrying=self._retrying,
            on_trial=self._on_trial,
            other=lambda accepted: self.resolver.other(
                accepted, self.conversations.peek(accepted.message.conversation_id)
            ),
            retries=Retrying(config.retry_delay_ms, config.retry_factor),
            offline_limit=config.limits_offline_queue,
            breakers=self.breakers,
            slow_s=config.breaker_slow_ms / 1_000 or math.inf,
            now_ms=wall_ms,
        )
        if message_log is not None:
            message_log.depth = self.delivery.loads.depth
        self.resolver = CapabilityResolver(directory, self.delivery.loads)
        self.discovery = Discovery(
            directory,
            lambda accepted: self.resolve(
                accepted, self.conversations.get(accepted.message).record
            ),
            lambda accepted, error: self.settling.bury(accepted, error, ""),
        )
        self.conversations = OpenConversations(
            system, journal, self, limit=config.conversation_active,
            timeout_ms=config.conversation_timeout_ms,
            # The journal keeps what is not in a snapshot.
            lag=min(LAG, config.storage_keep_messages // 4),
        )  # fmt: skip
        self.waiters = Waiters(journal, self.conversations.peek)
        self.timeouts = Timeouts(self.node, wall_ms, self.conversations.peek, self._say)
        self._owed = Owed()
        self.careful = Careful(clock)
        self._routed: list[int] = []
        """How long messages took to their agents since the last commit, in microseconds."""

    def trace_with(self, tracing: Tracing) -> None:
        """Trace messages that enter from now on as ``tracing`` says."""
        self._tracing = tracing
        self._traces = tracing.active

    # --- admit and journal -------------------------------------------------------------------

    def submit(self, submission: Submission) -> None:
        """Admit and journal a frame of submissions, and pass each on."""
        now, now_ms = self._clock(), self.now_ms()
        recent, refusal = self.admission.recent, self.admission.refusal
        origin, wait = submission.origin, submission.wait
        reference = first = submission.first
        try:
            for raw in submission.messages:
                try:
                    message = decode(raw)
                    message_id = message.message_id
                    known = message_id in recent.young or message_id in recent.old
                    error = None if known else refusal(message, self.commit.failure, now)
                    if error is None and not known:
                        if wait:
                            self.waiters.add(message, origin)
                        self._accept(message, bytes(raw), now, now_ms)
                        reference += 1
                        continue
                except CaxtonError as failure:
                    error = failure
                self._owed.run(origin, first, reference, now)
                if error is not None:
                    self.counters.refuse(error)
                    origin.refused(reference, error)
                else:
                    self.counters.duplicates += 1
                    self._owed.duplicates.append((origin, reference))
                    if wait:
                        self.waiters.add(message, origin)
                        self._owed.lookups.append(message)
                reference += 1
                first = reference
        finally:
            self._owed.run(origin, first, reference, now)
            self.commit.kick()

    def _accept(
        self, message: Message, raw: bytes, now: float, now_ms: int, *, decide: bool = True
    ) -> None:
        """Journal an admitted message and give it to its conversation."""
        conversations = self.conversations
        key = message.conversation_id
        conversation = conversations.known.get(key) or conversations.open(message)
        self.admission.recent.add(message.message_id)
        self.counters.accepted += 1
        sequence = self.journal.append(raw)
        due = conversations.due
        if key not in due:
            due[key] = sequence
        conversation.told += 1
        accepted = Accepted(message, raw, sequence, now, self.delivery, now_ms)
        if decide and self._traces and self._tracing.samples(message):
            trace = self._trace(accepted, now)
            trace.admitted()
            self._owed.traces.append(trace)
        if self.careful.active:
            self.careful.hold(conversation, accepted)
        else:
            conversation.hand(accepted)

    def _trace(self, accepted: Accepted, since: float) -> Trace:
        accepted.sampled = True
        accepted.trace = trace = self._tracing.begin(accepted.message, since)
        return trace

    def emit(self, outputs: Iterable[Message], sampled: bool = True) -> None:
        """Accept messages that were caused here, in this shard's conversations.

        What an unsampled message caused is not ``sampled`` either; else each one decides.
        """
        now, now_ms = self._clock(), self.now_ms()
        for message in outputs:
            if message.message_id not in self.admission.recent:
                self._accept(message, encode(message), now, now_ms, decide=sampled)
            else:
                self.counters.duplicates += 1

    def _say(self, messages: Iterable[Message]) -> None:
        self.emit(messages)
        self.commit.kick()

    # --- converse and resolve ----------------------------------------------------------------

    def resolve(self, accepted: Accepted, record: ConversationRecord) -> None:
        """Find the agent and deliver; or say why there is none."""
        message = accepted.message
        if message.in_reply_to is not None and self.waiters:
            waiter = self.waiters.answered(message)
            if waiter is not None:
                self._owed.replies.append((waiter, accepted.raw, message))
                self.commit.kick()
        agent_id: bytes | None = message.receiver
        if agent_id is None:
            everyone = self.resolver.everyone(message)
            if everyone is not None:
                self._broadcast(accepted, record, everyone)
                return
            try:
                agent_id = self.resolver.choose(message.capability or "", record, message.sender)
            except CaxtonError as error:
                self.settling.bury(accepted, error, "")
                return
        elif agent_id in self.directory.clients:
            # A client reads its replies from the conversation; a waiting one is told at commit.
            self.settling.settle(accepted, ())
            return
        elif agent_id not in self.directory.agents:
            if self.directory.known(agent_id):
                self.resolve(accepted, record)
            else:
                self.discovery.look(accepted, agent_id)
            return
        if accepted.trace is not None:
            accepted.trace.routed(agent_id)
        accepted.routing_us = took_us = int((self._clock() - accepted.accepted_at) * 1e6)
        self._routed.append(took_us)
        if accepted.kills >= KILLS:
            self.delivery.convict(accepted)
        elif accepted.due:
            self.delivery.resume(accepted, agent_id)
        else:
            self.delivery.deliver(accepted, agent_id)

    def _broadcast(
        self, accepted: Accepted, record: ConversationRecord, providers: Sequence[bytes]
    ) -> None:
        """A copy for each provider, in one commit with the handled mark of the message."""
        message = accepted.message
        refusal = too_many(message, record, providers, self.max_participants)
        if refusal is not None:
            self.violated(accepted, refusal)
            return
        self.settling.copied(
            accepted,
            copies(message, providers, self._tracing.passed_on(message, sampled=accepted.sampled)),
        )

    def await_answer(self, key: bytes, deadline: int) -> None:
        """A participant of a conversation is to answer until ``deadline``."""
        self.timeouts.watch(key, deadline)

    def silent(self, key: bytes, record: ConversationRecord) -> bool:
        """A conversation was idle for its whole timeout; whether that ends a protocol's run."""
        return self.timeouts.silent(key, record)

    def broke(self, accepted: Accepted, error: Exception) -> None:
        """A fault of the node came to a message in its conversation."""
        self.settling.broke(accepted, error)

    def violated(self, accepted: Accepted, error: CaxtonError) -> None:
        """The act does not fit its conversation: NOT_UNDERSTOOD to its sender."""
        self.settling.violated(accepted, error)

    # --- settle ------------------------------------------------------------------------------

    def _breaker_moved(self, circuit: Circuit) -> None:
        name = self.directory.name(circuit.target)
        self._event(f"breaker.{circuit.state.value}", name, circuit.reason)
        self.delivery.breaker_moved(circuit.target)

    def _retrying(self, accepted: Accepted, delay_s: float) -> None:
        due = self.now_ms() + int(delay_s * 1_000)
        self.journal.retry(accepted.sequence, accepted.retry_record(due))
        self.commit.kick()

    def _on_trial(self, sequence: int, group: int, begin: Callable[[], None]) -> None:
        """Suspects go to their agents once the journal knows which one, or how many."""
        self.journal.note_trial(sequence, group)
        self._owed.trials.append(begin)
        self.commit.kick()

    def raise_dead(self, letter: DeadRecord) -> None:
        """Have the message of a dead letter handled once more, as if it came now."""
        self.journal.remove_dead(letter.sequence)
        self._accept(decode(letter.message), letter.message, self._clock(), self.now_ms())
        self.commit.kick()

    # --- confirm -----------------------------------------------------------------------------

    def _prepare(self, batch: Batch) -> int:
        batch.owed, self._owed = self._owed, Owed()
        if self._routed:
            self.routing_us.add_all(self._routed)
            self._routed.clear()
        return self.conversations.snapshot(batch)

    def _committed(self, batch: Batch) -> None:
        """Nothing of a batch leaves before this: acks, then replies."""
        owed = batch.owed
        if not isinstance(owed, Owed):
            return
        now = self._clock()
        owed.confirm(now, self.ack_us, disk=self.disk)
        for trace in owed.traces:
            trace.journaled(now, len(batch.messages))
        for origin, raw, message in owed.replies:
            origin.replied(raw, message)
        for begin in owed.trials:
            begin()
        if self.careful.active:
            self.careful.committed(batch.first + len(batch.messages))
        for question in owed.lookups:
            found = self.waiters.look_up(question)
            if found is not None:
                found[0].replied(found[1], found[2])
        if self.conversations.unfinished:
            self.commit.kick()

    # --- recover -----------------------------------------------------------------------------

    def _reload(self, sequence: int) -> Accepted | None:
        raw = self.journal.read(sequence)
        if raw is None or not self.journal.is_pending(sequence):
            return None
        now = self._clock()
        accepted = Accepted(decode(raw), raw, sequence, now, self.delivery, self.now_ms())
        if self._traces and self._tracing.samples(accepted.message):
            self._trace(accepted, accepted.accepted_at)
        return accepted

    def recover(self) -> int:
        """Take up what the last run left; returns how many messages are pending."""
        for raw in self.journal.newest(2 * DEDUPE_WINDOW):
            self.admission.recent.add(decode(raw).message_id)
        recovered = self.journal.recover()
        for sequence, raw in recovered.replay:
            self.conversations.replay(decode(raw), sequence)
        now, now_ms = self._clock(), self.now_ms()
        # How often each has seen its process die is in the journal before one does it again.
        self.careful.begin(died=recovered.died)
        self.delivery.trials.recovered(recovered.group)
        for sequence, raw in recovered.pending:
            message = decode(raw)
            conversation = self.conversations.get(message)
            accepted = Accepted(message, raw, sequence, now, self.delivery, now_ms, 2)
            if self._traces and self._tracing.samples(message):
                self._trace(accepted, now)
            if accepted.take_up(recovered):
                self.journal.retry(sequence, accepted.retry_record(accepted.due))
            conversation.told += 1
            self.careful.hold(conversation, accepted)
        self.commit.kick()
        if recovered.pending:
            logger.info("recovered %d pending messages", len(recovered.pending))
        return len(recovered.pending)

    async def close(self, timeout_s: float) -> None:
        """Stop retrying, commit what is there, close the journal."""
        self.timeouts.close()
        self.discovery.close()
        self.delivery.close()
        await self.commit.close(timeout_s)
