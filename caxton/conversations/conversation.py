"""The conversation actor: one per open conversation, the third stage of a message's way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from actors import Actor, ActorRef
from caxton.conversations.record import ConversationRecord
from caxton.errors import CaxtonError
from caxton.routing.accepted import Accepted

__all__ = ["Conversation", "ConversationHost", "OpenConversation"]


class ConversationHost(Protocol):
    """What a conversation needs of its shard."""

    max_participants: int

    def now_ms(self) -> int:
        """Milliseconds since 1970."""
        ...

    def resolve(self, accepted: Accepted, record: ConversationRecord) -> None:
        """The next stage."""
        ...

    def violated(self, accepted: Accepted, error: CaxtonError) -> None:
        """The message does not fit; answer NOT_UNDERSTOOD."""
        ...


class OpenConversation:
    """A conversation in memory: its record, its actor, and how far the actor is.

    It outlives a restart of the actor, so that nothing of the record is lost with it.
    """

    __slots__ = ("key", "record", "ref", "tell", "told")

    def __init__(self, key: bytes, record: ConversationRecord) -> None:
        self.key = key
        self.record = record
        self.ref: ActorRef[Any] | None = None
        self.tell: Callable[[Any], None] = _not_started
        self.told = 0
        """Messages in the actor's mailbox; a snapshot waits for zero."""


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
        host = self.host
        state = self.state
        state.told -= 1
        message = accepted.message
        try:
            state.record.check(message, host.max_participants)
        except CaxtonError as error:
            state.record.apply(message, accepted.sequence, host.now_ms(), join=False)
            host.violated(accepted, error)
            return
        state.record.apply(message, accepted.sequence, host.now_ms())
        host.resolve(accepted, state.record)
