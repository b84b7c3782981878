"""Settling: the last stage of a message's way. It was handled, or it is a dead letter; both are
journaled in one commit with what the sender is told."""

from __future__ import annotations

import logging
import traceback as tracebacks
from collections.abc import Callable, Iterable, Sequence

from caxton.agents.directory import Directory
from caxton.errors import CaxtonError, InternalError
from caxton.message import Message, Performative
from caxton.observe.message_log import MessageLog
from caxton.routing.accepted import Accepted
from caxton.routing.answers import Answers
from caxton.routing.submission import Counters
from caxton.storage.journal import Journal
from caxton.storage.records import DeadRecord
from caxton.types import format_id

__all__ = ["Elsewhere", "Settling"]

logger = logging.getLogger("caxton.routing")

FRAMES = 12
"""Last entries of a traceback that a dead letter keeps."""

Elsewhere = Callable[[Sequence[Message], Callable[[], None]], None]
"""Submits messages to their own shards and calls back once all are journaled or refused."""


class Settling:
    """Ends messages of one shard.

    Args:
        directory: which shard a conversation belongs to.
        shard: number of this one.
        journal: where the ends are kept.
        counters: of this shard.
        answers: makes what senders are told.
        emit: accepts messages in this shard's conversations, caused by a sampled one or not.
        kick: has the journal commit.
        elsewhere: submits messages of other shards' conversations; calls back when they are safe.
        event: tells operators something.
        now_ms: milliseconds since 1970.
        clock: monotonic seconds.
        message_log: lines about messages that ended; None for none.
    """

    def __init__(
        self,
        directory: Directory,
        shard: int,
        journal: Journal,
        counters: Counters,
        answers: Answers,
        *,
        emit: Callable[[Iterable[Message], bool], None],
        kick: Callable[[], None],
        elsewhere: Elsewhere,
        event: Callable[[str, str, str], None],
        now_ms: Callable[[], int],
        clock: Callable[[], float],
        message_log: MessageLog | None,
    ) -> None:
        self._directory = directory
        self._shard = shard
        self._journal = journal
        self._counters = counters
        self._answers = answers
        self._emit = emit
        self._kick = kick
        self._elsewhere = elsewhere
        self._event = event
        self._now_ms = now_ms
        self._clock = clock
        self._log = message_log
        self._logs_all = message_log is not None and message_log.all_handled
        self._logs_sampled = message_log is not None and message_log.handled

    def settle(self, accepted: Accepted, outputs: Sequence[Message]) -> None:
        """Journal what handling caused and the handled mark, in one commit.

        What belongs to conversations of other shards is journaled there first.
        """
        if outputs:
            shard = self._directory.shard
            foreign = [one for one in outputs if shard(one.conversation_id) != self._shard]
            if foreign:
                near = [one for one in outputs if shard(one.conversation_id) == self._shard]
                self._elsewhere(foreign, lambda: self.settle(accepted, near))
                return
        # The mark first: what it caused may be settled before the next line, and comes after it.
        if self._journal.mark(accepted.sequence):
            self._counters.handled += 1
            if accepted.trace is not None or self._logs_all:
                self._ended(accepted, None)
            if outputs:
                self._emit(outputs, accepted.sampled)
            if accepted.message.delivery_options.require_receipt:
                self._emit(
                    self._answers.receipt(accepted.message, sampled=accepted.sampled),
                    accepted.sampled,
                )
        self._kick()

    def copied(self, accepted: Accepted, copies: Sequence[Message]) -> None:
        """Journal the copies of a broadcast and the handled mark of the message, in one commit."""
        # No receipt: each copy has its own, once it is handled.
        if self._journal.mark(accepted.sequence):
            self._counters.handled += 1
            if accepted.trace is not None or self._logs_all:
                self._ended(accepted, None)
            self._emit(copies, accepted.sampled)
        self._kick()

    def broke(self, accepted: Accepted, error: Exception) -> None:
        """A fault of the node: the message becomes a dead letter, with where it happened."""
        logger.error("a message could not be passed on", exc_info=error)
        text = "".join(tracebacks.format_exception(error)[-FRAMES:])
        self.bury(accepted, InternalError(reason=repr(error)), text)

    def violated(self, accepted: Accepted, error: CaxtonError) -> None:
        """The act does not fit its conversation: NOT_UNDERSTOOD to its sender."""
        if self._journal.mark(accepted.sequence):
            self._counters.fail(error)
            self._answer(accepted, Performative.NOT_UNDERSTOOD, error)

    def bury(self, accepted: Accepted, error: CaxtonError, traceback: str) -> None:
        """The message is a dead letter, and its sender is told why."""
        letter = DeadRecord(
            sequence=accepted.sequence,
            reason=error.code,
            detail=str(error),
            attempts=accepted.attempts,
            at=self._now_ms(),
            message=accepted.raw,
            traceback=traceback,
        )
        if not self._journal.bury(letter):
            return
        self._counters.fail(error)
        self._counters.dead_letters += 1
        self._event("dead_letter", format_id(accepted.message.message_id), str(error))
        self._answer(accepted, Performative.FAILURE, error)

    def _answer(self, accepted: Accepted, act: Performative, error: CaxtonError) -> None:
        self._ended(accepted, error)
        sampled = accepted.sampled
        self._emit(self._answers.about(accepted.message, act, error, sampled=sampled), sampled)
        self._kick()

    def _ended(self, accepted: Accepted, error: CaxtonError | None) -> None:
        if accepted.trace is not None:
            accepted.trace.ended(error)
        if self._log is None or (error is None and not self._logs_sampled):
            return
        self._log.ended(
            accepted.message,
            accepted.target or accepted.message.receiver,
            accepted.routing_us,
            int((self._clock() - accepted.accepted_at) * 1e6),
            accepted.attempts,
            error,
        )

    def discard_dead(self, sequence: int) -> None:
        """Remove a dead letter for good."""
        self._journal.remove_dead(sequence)
        self._kick()
