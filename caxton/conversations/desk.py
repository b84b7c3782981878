"""What is shown of conversations: lists, and their messages in pages from the newest backwards."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Literal

from caxton.agents.directory import Directory
from caxton.conversations.open import OpenConversations
from caxton.conversations.protocols.progress import Progress
from caxton.conversations.record import ConversationRecord
from caxton.errors import ConversationNotFound
from caxton.message import decode, to_json
from caxton.moments import format_time
from caxton.storage.journal import Journal
from caxton.types import format_id
from caxton.views import PAGE, ConversationDetail, ConversationView, MessageView, ProtocolView

__all__ = ["ConversationDesk"]


class ConversationDesk:
    """Reads the conversations of one shard.

    Args:
        number: of the shard.
        known: its conversations.
        journal: where their messages are.
        directory: whose names to show.
    """

    def __init__(
        self, number: int, known: OpenConversations, journal: Journal, directory: Directory
    ) -> None:
        self._number = number
        self._known = known
        self._journal = journal
        self._directory = directory

    def newest(self, limit: int) -> list[ConversationView]:
        """Conversations with the newest activity first."""
        known = self._known
        rows = [(state.key, state.record) for state in known]
        rows += known.stored(limit + len(rows))
        rows.sort(key=lambda row: row[1].last_activity, reverse=True)
        return [self._view(key, record) for key, record in rows[:limit]]

    def _view(self, key: bytes, record: ConversationRecord) -> ConversationView:
        names = self._directory.name
        pending = sum(1 for seq in record.sequences if self._journal.is_pending(seq))
        progress = record.progress
        lasting = progress is not None and not progress.over and progress.lasting
        expires_at = record.last_activity + self._known.timeout_ms
        return ConversationView(
            id=format_id(key),
            state="ended" if self._known.ended(record) else "active",
            initiator=names(record.initiator),
            participants=tuple(names(one) for one in record.participants),
            protocol=record.protocol or "",
            messages=record.messages,
            pending=pending,
            created_at=format_time(record.created_at),
            last_activity=format_time(record.last_activity),
            shard=self._number,
            expires_at="" if lasting else format_time(expires_at),
            progress=None if progress is None else self._progress(progress),
            parent="" if record.parent is None else format_id(record.parent),
        )

    def _progress(self, progress: Progress) -> ProtocolView:
        names = self._directory.name
        return ProtocolView(
            name=progress.protocol,
            over=progress.over,
            initiator=names(progress.initiator),
            participants={
                names(one) if one else "(not known yet)": peer.state
                for one, peer in progress.peers.items()
            },
            deadline=format_time(progress.deadline) if progress.deadline else "",
        )

    def detail(self, key: bytes, limit: int = PAGE, before: int = 0) -> ConversationDetail:
        """One conversation with its newest messages in order.

        Args:
            key: its id.
            limit: messages at most.
            before: only those with smaller sequence numbers; 0 for all.

        Raises:
            ConversationNotFound: it is not kept here.
        """
        record = self._known.peek(key)
        if record is None:
            raise ConversationNotFound(conversation=format_id(key))
        sequences = self._known.sequences(key, record)
        older = (one for one in reversed(sequences) if not before or one < before)
        shown = list(islice(self._messages(older, record), limit + 1))
        more = shown[limit - 1].sequence if len(shown) > limit else 0
        return ConversationDetail(self._view(key, record), tuple(reversed(shown[:limit])), more)

    def _messages(
        self, sequences: Iterable[int], record: ConversationRecord
    ) -> Iterable[MessageView]:
        names = self._directory.name
        for sequence in sequences:
            raw = self._journal.read(sequence)
            if raw is None:
                continue
            message = decode(raw)
            receiver = message.receiver or record.assigned.get(message.capability or "")
            yield MessageView(
                sequence=sequence,
                state=self._state(sequence),
                sender_name=names(message.sender),
                receiver_name=names(receiver) if receiver else "",
                message=to_json(message),
            )

    def _state(self, sequence: int) -> Literal["pending", "handled", "dead"]:
        if self._journal.is_pending(sequence):
            return "pending"
        return "dead" if self._journal.dead(sequence) else "handled"

    def history(self, key: bytes, before: bytes, limit: int) -> list[bytes]:
        """The encoded messages of a conversation before the message ``before``, in order."""
        record = self._known.peek(key)
        found: list[bytes] = []
        for sequence in reversed(record.sequences if record else ()):
            raw = self._journal.read(sequence)
            if raw is None:
                continue
            if decode(raw).message_id == before:
                # What came after the message in question is not its history.
                found.clear()
                continue
            found.append(raw)
            if len(found) >= limit:
                break
        return found[::-1]
