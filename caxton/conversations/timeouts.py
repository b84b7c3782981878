"""Deadlines of protocols: who did not answer in time, and conversations that went silent.

An act of the initiator with ``reply_by`` is to be answered until then. When it is not, the node
says FAILURE to the initiator, as if it were the participant's own: that message is journaled in
the conversation like any other and ends the run, so a restart comes to the same state. A
conversation that goes silent in the middle of a protocol for its whole timeout ends in the same
way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from caxton.conversations.protocols.progress import Peer, Progress
from caxton.conversations.record import ConversationRecord
from caxton.errors import Timeout
from caxton.message import Message, Performative, make_message
from caxton.routing.answers import failure_id
from caxton.routing.due import Due
from caxton.routing.reasons import failure_content

__all__ = ["Timeouts"]


class Timeouts:
    """Watches the deadlines of one shard's conversations on one timer.

    Args:
        node: identity of the node, which says the FAILURE.
        now_ms: milliseconds since 1970.
        peek: the record of a conversation, open or stored.
        emit: accepts messages into conversations of this shard, and has them committed.
    """

    def __init__(
        self,
        node: bytes,
        now_ms: Callable[[], int],
        peek: Callable[[bytes], ConversationRecord | None],
        emit: Callable[[Iterable[Message]], None],
    ) -> None:
        self._node = node
        self._now_ms = now_ms
        self._peek = peek
        self._emit = emit
        self._due: Due[bytes] = Due(self._come)
        self.count = 0
        """Runs of protocols that ended because nobody answered."""

    def __len__(self) -> int:
        return len(self._due)

    def watch(self, key: bytes, deadline: int) -> None:
        """Look at a conversation at ``deadline``, in milliseconds since 1970."""
        self._due.add((deadline - self._now_ms()) / 1_000, key)

    def _come(self, key: bytes) -> None:
        record = self._peek(key)
        if record is None or record.progress is None:
            return
        now = self._now_ms()
        late = list(record.progress.unanswered(now))
        self._fail(key, record.progress, late, now)
        following = min(
            (one.deadline for one in record.progress.peers.values() if one.deadline > now),
            default=0,
        )
        if following:
            self.watch(key, following)

    def silent(self, key: bytes, record: ConversationRecord) -> bool:
        """A conversation was idle for its whole timeout. Whether that ends a run of a protocol."""
        progress = record.progress
        if progress is None or progress.over or progress.lasting:
            return False
        self._fail(key, progress, list(progress.open()), self._now_ms())
        return True

    def _fail(
        self, key: bytes, progress: Progress, late: list[tuple[bytes, Peer]], now: int
    ) -> None:
        self.count += len(late)
        if late:
            self._emit([self._failure(key, progress, peer, now) for _, peer in late])

    def _failure(self, key: bytes, progress: Progress, peer: Peer, now: int) -> Message:
        table = progress.table
        if peer.deadline:
            what = f"answer of the {table.participant} in {progress.protocol} ({peer.state})"
        else:
            what = f"further act in {progress.protocol} ({peer.state})"
        waited = (peer.deadline or now) - peer.asked_at
        error = Timeout(what=what, timeout_ms=max(0, waited))
        return make_message(
            Performative.FAILURE,
            sender=self._node,
            receiver=progress.initiator,
            content=failure_content(error, peer.asked),
            conversation_id=key,
            message_id=failure_id(peer.asked),
            in_reply_to=peer.key,
            language="application/json",
            protocol=progress.protocol,
        )

    def close(self) -> None:
        """Look at nothing any more."""
        self._due.close()
