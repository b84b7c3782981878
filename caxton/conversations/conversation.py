"""The conversation actor: one per open conversation, the third stage of a message's way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from actors import Actor, ActorRef
from caxton.conversations.record import ConversationRecord
from caxton.errors import CaxtonError
from caxton.message import Message
from caxton.routing.accepted import Accepted

__all__ = ["Conversation", "ConversationHost", "OpenConversation"]


class ConversationHost(Protocol):
    """What a conversation needs of its shard."""

    max_participants: int
    node: bytes
    """Identity of the node, whose own answers break no rule."""

    def now_ms(self) -> int:
        """Milliseconds since 1970."""
        ...

    def resolve(self, accepted: Accepted, record: ConversationRecord) -> None:
        """The next stage."""
        ...

    def violated(self, accepted: Accepted, error: CaxtonError) -> None:
        """The message does not fit; answer NOT_UNDERSTOOD."""
        ...

    def broke(self, accepted: Accepted, error: Exception) -> None:
        """The message could not be passed on, because of a fault of the node."""
        ...

    def silent(self, key: bytes, record: ConversationRecord) -> bool:
        """A conversation was idle for its whole timeout; whether that ends a protocol's run."""
        ...

    def await_answer(self, key: bytes, deadline: int) -> None:
        """A participant of a conversation is to answer until ``deadline``."""
        ...


class OpenConversation:
    """A conversation in memory: its record, its actor, and how far the actor is.

    It outlives a restart of the actor, so that nothing of the record is lost with it.
    """

    __slots__ = ("deadline", "hand", "key", "record", "ref", "refused", "told")

    def __init__(self, key: bytes, record: ConversationRecord) -> None:
        self.key = key
        self.record = record
        self.ref: ActorRef[Any] | None = None
        self.hand: Callable[[Any], None] = _not_started
        """Gives its actor a message, at once where nothing stands before it."""
        self.told = 0
        """Messages in the actor's mailbox; a snapshot waits for zero."""
        self.deadline = 0
        """Until when an answer is awaited, as the host knows."""
        self.refused: dict[int, CaxtonError] | None = None
        """Messages that a start found to have been refused, and may still be pending."""

    def take(
        self, message: Message, sequence: int, now: int, host: ConversationHost
    ) -> CaxtonError | None:
        """Bring the record up to date with a message; returns why it is refused."""
        record = self.record
        try:
            record.check(message, host.max_participants, host.node)
        except CaxtonError as error:
            record.apply(message, sequence, now, join=False)
            return error
        record.apply(message, sequence, now)
        progress = record.progress
        if progress is not None:
            deadline = progress.deadline
            if deadline != self.deadline:
                self.deadline = deadline
                if deadline:
                    host.await_answer(self.key, deadline)
        return None


def _not_started(message: Any) -> None:
    raise RuntimeError(f"conversation got {message!r} before its actor was started")


class Conversation(Actor):
    """One conversation: keeps its record, checks what comes, passes it on in order."""

    def __init__(self, state: OpenConversation, host: ConversationHost) -> None:
        super().__init__()
        self.state = state
        self.host = host

    def on_receive(self, accepted: Any) -> None:
        """Take one accepted message in and pass it to the next stage."""
        state, host = self.state, self.host
        state.told -= 1
        try:
            sequence = accepted.sequence
            record = state.record
            if sequence > record.last_sequence:
                message, now = accepted.message, accepted.at_ms
                if record.absorb(message, sequence, now):
                    error = None
                else:
                    error = state.take(message, sequence, now, host)
            else:
                # It was taken in when the record was brought up to date after a start.
                error = state.refused.pop(sequence, None) if state.refused else None
            if error is None:
                host.resolve(accepted, record)
            else:
                host.violated(accepted, error)
        except Exception as fault:  # noqa: BLE001 - a fault of ours must not cost the conversation
            host.broke(accepted, fault)
