"""What the processes of a node say to each other: one frame kind per sentence, each a batch.

The payload of a frame is the msgpack form of the struct of its kind. Frames travel over
``actors.links.link``; inside one process the same structs are handed over as they are.
"""

from __future__ import annotations

import enum
from typing import Any, Final

import msgspec

__all__ = [
    "Acked",
    "Answer",
    "Deliver",
    "Kind",
    "Notice",
    "Query",
    "Refused",
    "Replies",
    "Settled",
    "Submit",
    "decode_payload",
    "encode_payload",
    "shard_of",
]


class Kind(enum.IntEnum):
    """Number of a frame's sentence."""

    SUBMIT = 1
    ACKED = 2
    REFUSED = 3
    REPLIES = 4
    DELIVER = 5
    SETTLED = 6
    QUERY = 7
    ANSWER = 8
    NOTICE = 9


class Submit(msgspec.Struct, array_like=True, frozen=True):
    """Client or shard to shard: take these messages. References count up from ``first``."""

    first: int
    wait: bool
    """Whether their replies are wanted on this link."""
    messages: list[msgspec.Raw]


class Acked(msgspec.Struct, array_like=True, frozen=True):
    """Shard to submitter: these references are in the journal at the level of ``disk``."""

    disk: bool
    references: list[int]
    """Runs: first, count, first, count, ..."""
    duplicates: list[int]
    """References whose message id had been accepted before."""


class Refused(msgspec.Struct, array_like=True, frozen=True):
    """Shard to submitter: nothing was done for these references."""

    items: list[tuple[int, str, dict[str, Any]]]
    """Reference, error code, fields of the error."""


class Replies(msgspec.Struct, array_like=True, frozen=True):
    """Shard to submitter: committed messages that answer what it waits for."""

    messages: list[msgspec.Raw]


class Deliver(msgspec.Struct, array_like=True, frozen=True):
    """Conversation's shard to agent's shard: handle these."""

    items: list[tuple[int, int, bytes, bytes, msgspec.Raw]]
    """Sequence number at the conversation's shard, delivery count, agent, which failure of an
    earlier message this one may follow, message."""
    sampled: list[int] = []
    """Sequence numbers of those that are traced."""


class Settled(msgspec.Struct, array_like=True, frozen=True):
    """Agent's shard to conversation's shard: what became of deliveries."""

    done: list[tuple[int, bytes, list[bytes]]]
    """Sequence number, message id, the messages that handling caused."""
    failed: list[tuple[int, bytes, str, dict[str, Any], str]]
    """Sequence number, message id, error code, fields, traceback.

    The id goes with the number because a shard that lost its uncommitted tail gives the numbers of
    that tail to other messages."""
    took_ms: dict[bytes, int] = {}
    """Message id to how long handling took, where that was long."""


class Query(msgspec.Struct, array_like=True, frozen=True):
    """A question that is answered once."""

    reference: int
    name: str
    arguments: dict[str, Any]


class Answer(msgspec.Struct, array_like=True, frozen=True):
    """The answer to a query: a value, or an error by code and fields."""

    reference: int
    value: Any = None
    code: str = ""
    fields: dict[str, Any] = {}


class Notice(msgspec.Struct, array_like=True, frozen=True):
    """Something happened: ``registry`` (a new revision), ``heartbeat``, ``event``, ``tools`` (those
    that others than Caxton bring), or ``cancel`` (nobody waits for the answer to this query)."""

    name: str
    value: Any = None


_TYPES: Final[dict[int, Any]] = {
    Kind.SUBMIT: Submit,
    Kind.ACKED: Acked,
    Kind.REFUSED: Refused,
    Kind.REPLIES: Replies,
    Kind.DELIVER: Deliver,
    Kind.SETTLED: Settled,
    Kind.QUERY: Query,
    Kind.ANSWER: Answer,
    Kind.NOTICE: Notice,
}
_decoders = {kind: msgspec.msgpack.Decoder(struct) for kind, struct in _TYPES.items()}
_encoder = msgspec.msgpack.Encoder()
_kinds: Final[dict[type, Kind]] = {struct: Kind(kind) for kind, struct in _TYPES.items()}


def encode_payload(sentence: msgspec.Struct) -> tuple[Kind, bytes]:
    """The kind and payload of a frame."""
    return _kinds[type(sentence)], _encoder.encode(sentence)


def decode_payload(kind: int, payload: bytes | memoryview) -> Any:
    """Read a payload.

    Raises:
        msgspec.MsgspecError: the kind is unknown, or the payload is not of it.
    """
    decoder = _decoders.get(kind)
    if decoder is None:
        raise msgspec.ValidationError(f"unknown frame kind {kind}")
    return decoder.decode(payload)


def shard_of(identity: bytes, shards: int) -> int:
    """The shard that an id lives on: the same in every process and after every restart."""
    if shards == 1:
        return 0
    # The last eight bytes of any UUID version are random or a hash.
    return (int.from_bytes(identity[8:], "big") * 0x9E3779B97F4A7C15 >> 32 & 0xFFFFFFFF) % shards
