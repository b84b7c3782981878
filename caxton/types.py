"""Domain types: ids and bounded values, each with one range in one table.

A value is parsed once, where it enters, and trusted afterwards. Ids are 16 bytes inside and
canonical UUID text at the edges (16 bytes hash, compare and travel cheaper than a ``uuid.UUID``).
``BOUNDS`` is the table of section "limits" in ``docs/reference/limits.md``.
"""

from __future__ import annotations

import enum
import re
import uuid
from dataclasses import dataclass
from typing import Annotated, Generic, NewType, TypeVar, cast

import msgspec
import uuid_utils

from caxton.errors import ValidationError

__all__ = [
    "BOUNDS",
    "AgentId",
    "AgentName",
    "AgentQueueSize",
    "Bound",
    "CapabilityDescription",
    "CapabilityName",
    "ChannelCapacity",
    "CircuitBreakerThreshold",
    "CircuitBreakerTimeoutMs",
    "ContentLanguage",
    "ConversationId",
    "ConversationTimeoutMs",
    "DeadLetterQueueSize",
    "DeploymentId",
    "HealthCheckIntervalMs",
    "Id",
    "MaxConversationParticipants",
    "MaxRetries",
    "MessageBatchSize",
    "MessageContent",
    "MessageId",
    "MessagePriority",
    "MessageTimeoutMs",
    "NodeId",
    "OntologyName",
    "Percentage",
    "ProtocolName",
    "RetryBackoffFactor",
    "RetryDelayMs",
    "SpanId",
    "TraceId",
    "TraceSamplingRatio",
    "WorkerCount",
    "derived_id",
    "format_id",
    "named_id",
    "new_id",
    "parse_id",
    "parse_priority",
]

T = TypeVar("T")

_ID16 = msgspec.Meta(min_length=16, max_length=16)

Id = Annotated[bytes, _ID16]
"""Any 16-byte id, as msgspec checks it."""

_AgentId = NewType("_AgentId", bytes)
_NodeId = NewType("_NodeId", bytes)
_MessageId = NewType("_MessageId", bytes)
_ConversationId = NewType("_ConversationId", bytes)
_DeploymentId = NewType("_DeploymentId", bytes)

AgentId = Annotated[_AgentId, _ID16]
NodeId = Annotated[_NodeId, _ID16]
MessageId = Annotated[_MessageId, _ID16]
ConversationId = Annotated[_ConversationId, _ID16]
DeploymentId = Annotated[_DeploymentId, _ID16]

_new = uuid_utils.uuid7


def new_id() -> bytes:
    """Make an id: UUIDv7 (RFC 9562), so ids made later sort later."""
    return _new().bytes


def named_id(space: bytes, name: str) -> bytes:
    """The id that ``name`` always has inside ``space``: UUIDv5 (RFC 9562)."""
    return uuid.uuid5(uuid.UUID(bytes=space), name).bytes


def derived_id(parent: bytes, index: int) -> bytes:
    """The id of the ``index``-th message that handling ``parent`` caused.

    It is the same on every redelivery, so a message that was already journaled is recognised as
    a duplicate. The time-ordered first half of the parent is kept; the rest is mixed.
    """
    tail = int.from_bytes(parent[8:], "big") * 0x9E3779B97F4A7C15 + index + 1
    mixed = (tail ^ (tail >> 29)) & 0x3FFFFFFFFFFFFFFF | 0x8000000000000000
    return parent[:8] + mixed.to_bytes(8, "big")


def format_id(value: bytes) -> str:
    """Canonical text of an id: 36 characters, lower case, with hyphens."""
    text = value.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


_UUID = re.compile(r"[0-9a-fA-F]{8}-?([0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}")


def parse_id(text: object, field: str) -> bytes:
    """Read an id from its text form, any UUID version.

    Raises:
        ValidationError: ``text`` is not a UUID.
    """
    if isinstance(text, str) and _UUID.fullmatch(text):
        return bytes.fromhex(text.replace("-", ""))
    raise ValidationError(field=field, value=text, allowed="a UUID")


class MessagePriority(enum.IntEnum):
    """How urgent a message is; a higher one overtakes lower ones in a mailbox."""

    LOW = 1
    NORMAL = 5
    HIGH = 8
    CRITICAL = 10


def parse_priority(value: object, field: str = "priority") -> MessagePriority:
    """Read a priority by name (any case) or number.

    Raises:
        ValidationError: it is neither.
    """
    if isinstance(value, str) and value.upper() in MessagePriority.__members__:
        return MessagePriority[value.upper()]
    if isinstance(value, int) and not isinstance(value, bool):
        for member in MessagePriority:
            if member == value:
                return member
    raise ValidationError(field=field, value=value, allowed="low 1, normal 5, high 8, critical 10")


@dataclass(frozen=True, slots=True)
class Bound(Generic[T]):
    """One bounded domain type: its name, base, inclusive range and default."""

    name: str
    """The type's name in the documentation."""
    base: type[T]
    """``int``, ``float``, ``str`` or ``bytes``."""
    low: float
    """Smallest value, or smallest length of a text."""
    high: float
    """Largest value, or largest length of a text."""
    default: T | None = None
    """What is used when nothing is given; ``None`` means it must be given."""
    pattern: str | None = None
    """Regular expression that a text must match whole."""
    unit: str = ""
    """Unit shown in messages, such as ``ms``."""

    @property
    def allowed(self) -> str:
        """The range as people read it."""
        if self.base in (str, bytes):
            what = "characters" if self.base is str else "bytes"
            if self.low == self.high:
                text = f"{self.low:g} {what}"
            else:
                text = f"{self.low:g} to {self.high:,.0f} {what}"
            return f"{text} matching {self.pattern}" if self.pattern else text
        number = "{:,}" if self.base is int else "{:g}"
        unit = f" {self.unit}" if self.unit else ""
        return f"{number.format(self.low)} to {number.format(self.high)}{unit}"

    def parse(self, value: object, field: str | None = None) -> T:
        """Check ``value`` and give it back as this type.

        Raises:
            ValidationError: wrong type or out of range; names ``field``, value and range.
        """
        parsed = self._convert(value)
        if parsed is None:
            raise ValidationError(field=field or self.name, value=value, allowed=self.allowed)
        return parsed

    def _convert(self, value: object) -> T | None:
        if isinstance(value, bool):
            return None
        if self.base is float and isinstance(value, int):
            value = float(value)
        if not isinstance(value, self.base):
            return None
        if isinstance(value, str | bytes):
            fits = self.low <= len(value) <= self.high
            if fits and self.pattern is not None and isinstance(value, str):
                fits = re.fullmatch(self.pattern, value) is not None
            return cast("T", value) if fits else None
        if isinstance(value, int | float) and self.low <= value <= self.high:
            return cast("T", value)
        return None


BOUNDS: dict[str, Bound[int] | Bound[float] | Bound[str] | Bound[bytes]] = {}
"""Every bounded type by name."""

B = TypeVar("B", Bound[int], Bound[float], Bound[str], Bound[bytes])


def _row(bound: B) -> B:
    BOUNDS[bound.name] = bound
    return bound


_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"

AgentName = _row(Bound("AgentName", str, 1, 100, pattern=_NAME))
CapabilityName = _row(Bound("CapabilityName", str, 1, 100, pattern=_NAME))
CapabilityDescription = _row(Bound("CapabilityDescription", str, 1, 1_000))
ContentLanguage = _row(Bound("ContentLanguage", str, 1, 50))
OntologyName = _row(Bound("OntologyName", str, 1, 100))
ProtocolName = _row(Bound("ProtocolName", str, 1, 100))
TraceId = _row(Bound("TraceId", str, 32, 32, pattern=r"(?!0{32})[0-9a-f]{32}"))
SpanId = _row(Bound("SpanId", str, 16, 16, pattern=r"(?!0{16})[0-9a-f]{16}"))
MessageContent = _row(Bound("MessageContent", bytes, 0, 10 * 1024 * 1024))
MessageTimeoutMs = _row(Bound("MessageTimeoutMs", int, 1_000, 300_000, 30_000, unit="ms"))
MaxRetries = _row(Bound("MaxRetries", int, 1, 10, 3))
RetryDelayMs = _row(Bound("RetryDelayMs", int, 100, 30_000, 1_000, unit="ms"))
RetryBackoffFactor = _row(Bound("RetryBackoffFactor", float, 1.1, 5.0, 2.0))
ChannelCapacity = _row(Bound("ChannelCapacity", int, 1, 1_000_000, 1_000, unit="messages"))
AgentQueueSize = _row(Bound("AgentQueueSize", int, 1, 10_000, 1_000, unit="messages"))
MessageBatchSize = _row(Bound("MessageBatchSize", int, 1, 1_000, 100, unit="messages"))
WorkerCount = _row(Bound("WorkerCount", int, 1, 32, 4, unit="shards"))
HealthCheckIntervalMs = _row(
    Bound("HealthCheckIntervalMs", int, 1_000, 300_000, 30_000, unit="ms"),
)
ConversationTimeoutMs = _row(
    Bound("ConversationTimeoutMs", int, 300_000, 86_400_000, 1_800_000, unit="ms"),
)
MaxConversationParticipants = _row(Bound("MaxConversationParticipants", int, 1, 100, 10))
CircuitBreakerThreshold = _row(Bound("CircuitBreakerThreshold", int, 1, 100, 10, unit="failures"))
CircuitBreakerTimeoutMs = _row(
    Bound("CircuitBreakerTimeoutMs", int, 5_000, 300_000, 60_000, unit="ms"),
)
DeadLetterQueueSize = _row(
    Bound("DeadLetterQueueSize", int, 10_000, 1_000_000, 100_000, unit="letters"),
)
TraceSamplingRatio = _row(Bound("TraceSamplingRatio", float, 0.0, 1.0, 0.1))
Percentage = _row(Bound("Percentage", float, 0.0, 100.0, unit="%"))
