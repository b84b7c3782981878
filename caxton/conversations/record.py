"""What is kept of a conversation, and how a message changes it."""

from __future__ import annotations

import struct

import msgspec

from caxton.conversations.protocols.progress import Progress, advance
from caxton.errors import ProtocolViolation
from caxton.message import Message
from caxton.types import format_id

__all__ = ["CHUNK", "ConversationRecord", "history_key", "pack_sequences", "unpack_sequences"]

CHUNK = 256
"""Sequence numbers a record holds; when full they move to a history chunk of their own."""


class ConversationRecord(msgspec.Struct, array_like=True):
    """State of one conversation. The snapshot in the store is this struct in msgpack form."""

    created_at: int
    last_activity: int
    """Milliseconds since 1970."""
    initiator: bytes
    participants: list[bytes]
    """The initiator first."""
    protocol: str | None = None
    messages: int = 0
    last_sequence: int = 0
    """The newest message that this record contains."""
    sequences: list[int] = []
    """Sequence numbers of the newest messages, oldest first; older ones are in history chunks."""
    chunks: int = 0
    assigned: dict[str, bytes] = {}
    """Capability to the agent that serves it in this conversation."""
    ended: bool = False
    progress: Progress | None = None
    """Where it is in its protocol, since one that is checked began."""
    parent: bytes | None = None
    """The conversation that it branched from."""

    @classmethod
    def begin(cls, message: Message) -> ConversationRecord:
        """A conversation that ``message`` opens."""
        return cls(
            created_at=message.created_at,
            last_activity=message.created_at,
            initiator=message.sender,
            participants=[message.sender],
            protocol=message.protocol,
            parent=message.parent_conversation_id,
        )

    def check(self, message: Message, limit: int, node: bytes) -> None:
        """Whether ``message`` fits; its protocol then is where the message leads. Call once.

        Raises:
            ProtocolViolation: it would bring in more than ``limit`` participants, or is not what
                the protocol allows now. Nothing was changed.
        """
        self._check_room(message, limit)
        if message.protocol is not None or self.progress is not None:
            self.progress = advance(self.progress, message, node)

    def absorb(self, message: Message, sequence: int, now: int) -> bool:
        """Take in a later message that changes nothing but the counts; whether it is one.

        That is what most are: between participants, outside of a protocol.
        """
        if message.protocol is not None or self.progress is not None:
            return False
        participants = self.participants
        receiver = message.receiver
        if message.sender not in participants or (
            receiver is not None and receiver not in participants
        ):
            return False
        self.last_sequence = sequence
        self.last_activity = now
        self.messages += 1
        self.ended = False
        self.sequences.append(sequence)
        return True

    def _check_room(self, message: Message, limit: int) -> None:
        participants = self.participants
        if len(participants) < limit - 1:
            return
        new = sum(
            1 for one in (message.sender, message.receiver) if one and one not in participants
        )
        if len(participants) + new > limit:
            raise ProtocolViolation(
                performative=message.performative.value,
                conversation=format_id(message.conversation_id),
                rule=f"it has {len(participants)} participants, at most {limit} are allowed",
            )

    def apply(self, message: Message, sequence: int, now: int, *, join: bool = True) -> None:
        """Take ``message`` in. Applying a sequence number twice changes nothing.

        Without ``join`` it counts, but brings in no participants (a refused message).
        """
        if sequence <= self.last_sequence:
            return
        self.last_sequence = sequence
        self.last_activity = now
        self.messages += 1
        self.ended = False
        self.sequences.append(sequence)
        if not join:
            return
        if message.sender not in self.participants:
            self.participants.append(message.sender)
        if message.receiver is not None and message.receiver not in self.participants:
            self.participants.append(message.receiver)
        if self.protocol is None:
            self.protocol = message.protocol

    def assign(self, capability: str, agent_id: bytes) -> None:
        """Let ``agent_id`` serve ``capability`` from now on."""
        self.assigned[capability] = agent_id
        if agent_id not in self.participants:
            self.participants.append(agent_id)


def history_key(conversation: bytes, chunk: int) -> bytes:
    """Key of a history chunk."""
    return conversation + chunk.to_bytes(4, "big")


def pack_sequences(sequences: list[int]) -> bytes:
    """Sequence numbers as eight bytes each."""
    return struct.pack(f">{len(sequences)}Q", *sequences)


def unpack_sequences(data: bytes) -> list[int]:
    """The inverse of ``pack_sequences``."""
    return list(struct.unpack(f">{len(data) // 8}Q", data))
