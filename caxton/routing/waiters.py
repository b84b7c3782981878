"""Who waits for the answer to a message: an origin per question, told once it is committed."""

from __future__ import annotations

from collections.abc import Callable

from caxton.conversations.record import ConversationRecord
from caxton.message import Message, Performative, decode
from caxton.routing.accepted import Origin
from caxton.storage.journal import Journal

__all__ = ["MAX_WAITERS", "Waiters"]

MAX_WAITERS = 100_000
"""Past that the oldest question is forgotten; its answer stays in its conversation."""


class Waiters:
    """Questions of one shard that somebody waits for.

    Args:
        journal: where answers are that came before the question was repeated.
        peek: the record of a conversation.
    """

    def __init__(
        self, journal: Journal, peek: Callable[[bytes], ConversationRecord | None]
    ) -> None:
        self._journal = journal
        self._peek = peek
        self._waiting: dict[bytes, Origin] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, message: Message, origin: Origin) -> None:
        """``origin`` waits for the answer to ``message``."""
        if len(self._waiting) >= MAX_WAITERS:
            self._waiting.pop(next(iter(self._waiting)))
        self._waiting[message.reply_with or message.message_id] = origin

    def answered(self, message: Message) -> Origin | None:
        """Who waits for ``message``. An AGREE is not the last word: they go on waiting."""
        key = message.in_reply_to
        if key is None:
            return None
        if message.performative is Performative.AGREE:
            return self._waiting.get(key)
        return self._waiting.pop(key, None)

    def look_up(self, message: Message) -> tuple[Origin, bytes, Message] | None:
        """The answer to a repeated question that was committed before it was repeated."""
        key = message.reply_with or message.message_id
        record = self._peek(message.conversation_id)
        for sequence in reversed(record.sequences if record else ()):
            raw = self._journal.read(sequence)
            found = decode(raw) if raw is not None else None
            if found is None or raw is None or found.in_reply_to != key:
                continue
            if found.performative is not Performative.AGREE:
                origin = self._waiting.pop(key, None)
                return None if origin is None else (origin, raw, found)
        return None

    def forget(self, origin: Origin) -> None:
        """The origin is gone; nobody waits for its answers."""
        gone = [key for key, waiter in self._waiting.items() if waiter is origin]
        for key in gone:
            del self._waiting[key]
