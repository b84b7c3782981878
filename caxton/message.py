"""The message: FIPA-ACL fields (SC00061), msgpack inside the node, JSON at its edges.

``Message`` is what every stage handles. ``encode`` and ``decode`` are its msgpack form (an array,
so that field names cost nothing); ``to_json`` and ``from_json`` are its form in the REST API, on
the command line and in logs: ids as UUID text, performatives as FIPA spells them
(``accept-proposal``), content as text where it is UTF-8 and as base64 where it is not.
"""

from __future__ import annotations

import base64
import binascii
import difflib
import time
from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec
import orjson

from caxton.capability import parse_capability
from caxton.errors import MessageTooLarge, ValidationError
from caxton.moments import format_time, parse_time
from caxton.performative import FailureReason, Performative, parse_performative
from caxton.trace_context import TraceContext, parse_traceparent
from caxton.types import (
    AgentId,
    ContentLanguage,
    ConversationId,
    Id,
    MaxRetries,
    MessageContent,
    MessageId,
    MessagePriority,
    MessageTimeoutMs,
    OntologyName,
    ProtocolName,
    derived_id,
    format_id,
    new_id,
    parse_id,
    parse_priority,
)

__all__ = [
    "DEFAULT_OPTIONS",
    "DeliveryOptions",
    "FailureReason",
    "Message",
    "Performative",
    "TraceContext",
    "decode",
    "encode",
    "from_json",
    "make_message",
    "make_reply",
    "parse_performative",
    "parse_traceparent",
    "to_json",
]

MAX_CONTENT: Final = int(MessageContent.high)


class DeliveryOptions(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """How hard to try to deliver a message."""

    priority: MessagePriority = MessagePriority.NORMAL
    """Higher overtakes lower in the receiver's mailbox."""
    timeout_ms: Annotated[int, msgspec.Meta(ge=1_000, le=300_000)] | None = None
    """How long it may take to be handled; ``None`` means as long as it takes."""
    require_receipt: bool = False
    """Send the sender a CONFIRM when the message was handled."""
    max_retries: Annotated[int, msgspec.Meta(ge=1, le=10)] = 3
    """How often a failing delivery is tried again before it becomes a dead letter."""


DEFAULT_OPTIONS: Final = DeliveryOptions()


class Message(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One FIPA-ACL message. Exactly one of ``receiver`` and ``capability`` is set.

    Never built by hand from untrusted parts: use ``make_message`` or ``from_json``, which check
    the rules that the field types alone cannot state.
    """

    performative: Performative
    message_id: MessageId
    conversation_id: ConversationId
    sender: AgentId
    created_at: int
    """Milliseconds since 1970, UTC."""
    receiver: AgentId | None = None
    capability: Annotated[str, msgspec.Meta(min_length=1, max_length=200)] | None = None
    """Name, or name and range of versions: ``billing@>=1.2,<2``."""
    content: Annotated[bytes, msgspec.Meta(max_length=10 * 1024 * 1024)] = b""
    """Opaque to the router."""
    reply_with: Id | None = None
    in_reply_to: Id | None = None
    reply_by: int | None = None
    """Milliseconds since 1970: the sender has no use for a reply after this."""
    language: Annotated[str, msgspec.Meta(min_length=1, max_length=50)] | None = None
    ontology: Annotated[str, msgspec.Meta(min_length=1, max_length=100)] | None = None
    protocol: Annotated[str, msgspec.Meta(min_length=1, max_length=100)] | None = None
    trace_context: TraceContext | None = None
    delivery_options: DeliveryOptions = DEFAULT_OPTIONS
    parent_conversation_id: ConversationId | None = None
    """The conversation that this one branches from; counts in its first message."""

    def __post_init__(self) -> None:
        """Refuse a message with no address, or with two."""
        if (self.receiver is None) == (self.capability is None):
            given = "both" if self.receiver is not None else "neither"
            raise ValidationError(
                field="receiver",
                value=given,
                allowed="exactly one of receiver and capability",
            )

    @property
    def text(self) -> str:
        """The content as text; bytes that are not UTF-8 show as U+FFFD."""
        return self.content.decode("utf-8", "replace")


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Message)

encode = _encoder.encode
"""Message to msgpack bytes."""


def decode(data: bytes | memoryview | msgspec.Raw) -> Message:
    """Read a message from its msgpack form.

    Raises:
        ValidationError: it is not a message; nothing of it may be used.
    """
    try:
        return _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValidationError(
            field="message",
            value=f"{len(memoryview(data)):,} bytes that do not decode",
            allowed=f"a message in msgpack form ({error})",
        ) from error


def now_ms() -> int:
    """Milliseconds since 1970, UTC, from the system clock."""
    return time.time_ns() // 1_000_000


def make_message(
    performative: Performative | str,
    *,
    sender: bytes,
    receiver: bytes | None = None,
    capability: str | None = None,
    content: bytes | str = b"",
    conversation_id: bytes | None = None,
    message_id: bytes | None = None,
    created_at: int | None = None,
    reply_with: bytes | None = None,
    in_reply_to: bytes | None = None,
    reply_by: int | None = None,
    language: str | None = None,
    ontology: str | None = None,
    protocol: str | None = None,
    trace_context: TraceContext | None = None,
    delivery_options: DeliveryOptions = DEFAULT_OPTIONS,
    parent_conversation_id: bytes | None = None,
    max_content: int = MAX_CONTENT,
) -> Message:
    """Build a message; ids and the time are made when not given.

    Raises:
        ValidationError: a field is out of its range.
        MessageTooLarge: the content is over ``max_content`` bytes.
    """
    body = content.encode() if isinstance(content, str) else content
    if len(body) > max_content:
        raise MessageTooLarge(field="content", size=len(body), limit=max_content)
    if receiver is not None and receiver == sender:
        raise ValidationError(
            field="receiver", value=format_id(receiver), allowed="another agent than the sender"
        )
    identity = message_id or new_id()
    return Message(
        performative=parse_performative(performative),
        message_id=identity,  # type: ignore[arg-type]  # 16 bytes by construction
        conversation_id=conversation_id or new_id(),  # type: ignore[arg-type]  # likewise
        sender=sender,  # type: ignore[arg-type]  # likewise
        created_at=now_ms() if created_at is None else created_at,
        receiver=receiver,  # type: ignore[arg-type]  # likewise
        capability=None if capability is None else parse_capability(capability),
        content=body,
        reply_with=reply_with,
        in_reply_to=in_reply_to,
        reply_by=reply_by,
        language=None if language is None else ContentLanguage.parse(language, "language"),
        ontology=None if ontology is None else OntologyName.parse(ontology, "ontology"),
        protocol=None if protocol is None else ProtocolName.parse(protocol, "protocol"),
        trace_context=trace_context,
        delivery_options=delivery_options,
        parent_conversation_id=parent_conversation_id,  # type: ignore[arg-type]  # likewise
    )


def make_reply(
    to: Message,
    performative: Performative | str,
    content: bytes | str,
    *,
    sender: bytes,
    index: int = 0,
) -> Message:
    """The ``index``-th message that answers ``to``: back to its sender, in its conversation.

    Its id follows from the id of ``to``, so handling ``to`` twice cannot answer twice.
    """
    return make_message(
        performative,
        sender=sender,
        receiver=to.sender,
        content=content,
        conversation_id=to.conversation_id,
        message_id=derived_id(to.message_id, index),
        in_reply_to=to.reply_with or to.message_id,
        language=to.language,
        ontology=to.ontology,
        protocol=to.protocol,
        trace_context=to.trace_context,
        delivery_options=DeliveryOptions(priority=to.delivery_options.priority),
    )


def to_json(message: Message) -> dict[str, Any]:
    """The JSON form of a message, without the fields that are not set."""
    body: dict[str, Any] = {
        "message_id": format_id(message.message_id),
        "conversation_id": format_id(message.conversation_id),
        "performative": message.performative.value,
        "sender": format_id(message.sender),
        "created_at": format_time(message.created_at),
    }
    if message.receiver is not None:
        body["receiver"] = format_id(message.receiver)
    if message.capability is not None:
        body["capability"] = message.capability
    try:
        body["content"] = message.content.decode()
    except UnicodeDecodeError:
        body["content_base64"] = base64.b64encode(message.content).decode()
    for name in ("reply_with", "in_reply_to", "parent_conversation_id"):
        value = getattr(message, name)
        if value is not None:
            body[name] = format_id(value)
    if message.reply_by is not None:
        body["reply_by"] = format_time(message.reply_by)
    for name in ("language", "ontology", "protocol"):
        value = getattr(message, name)
        if value is not None:
            body[name] = value
    if message.trace_context is not None:
        body["trace_context"] = {"traceparent": message.trace_context.traceparent}
    options = message.delivery_options
    if options != DEFAULT_OPTIONS:
        body["delivery_options"] = {
            "priority": options.priority.name.lower(),
            "timeout_ms": options.timeout_ms,
            "require_receipt": options.require_receipt,
            "max_retries": options.max_retries,
        }
    return body


FIELDS: Final = frozenset(
    {
        "performative",
        "message_id",
        "conversation_id",
        "sender",
        "created_at",
        "receiver",
        "capability",
        "content",
        "content_base64",
        "reply_with",
        "in_reply_to",
        "reply_by",
        "language",
        "ontology",
        "protocol",
        "trace_context",
        "delivery_options",
        "parent_conversation_id",
    }
)
_OPTIONS: Final = frozenset({"priority", "timeout_ms", "require_receipt", "max_retries"})


def _known(body: Mapping[str, object], allowed: frozenset[str], prefix: str = "") -> None:
    for name in body:
        if name not in allowed:
            near = difflib.get_close_matches(str(name)[:60], allowed, n=1)
            hint = "".join(f"did you mean `{one}`? " for one in near)
            raise ValidationError(
                field=f"{prefix}{name}",
                value="an unknown field",
                allowed=f"{hint}one of {', '.join(sorted(allowed))}",
            )


def _content(body: Mapping[str, object]) -> bytes:
    content = body.get("content")
    encoded = body.get("content_base64")
    if encoded is not None:
        if content is not None:
            raise ValidationError(
                field="content", value="both", allowed="one of content and content_base64"
            )
        try:
            return base64.b64decode(_text(body, "content_base64") or "", validate=True)
        except (binascii.Error, ValueError) as error:
            raise ValidationError(
                field="content_base64", value=encoded, allowed="base64 (RFC 4648)"
            ) from error
    if content is None:
        return b""
    if isinstance(content, str):
        try:
            return content.encode()
        except UnicodeEncodeError as error:
            raise ValidationError(
                field="content", value="a lone surrogate", allowed="Unicode text or JSON"
            ) from error
    try:
        return orjson.dumps(content)
    except TypeError as error:
        raise ValidationError(
            field="content", value=type(content).__name__, allowed="text or JSON"
        ) from error


def _options(value: object, default: DeliveryOptions) -> DeliveryOptions:
    if value is None:
        return default
    if not isinstance(value, Mapping):
        raise ValidationError(field="delivery_options", value=value, allowed="an object")
    _known(value, _OPTIONS, "delivery_options.")
    timeout = value.get("timeout_ms", default.timeout_ms)
    receipt = value.get("require_receipt", False)
    if not isinstance(receipt, bool):
        raise ValidationError(
            field="delivery_options.require_receipt", value=receipt, allowed="true or false"
        )
    return DeliveryOptions(
        priority=parse_priority(value.get("priority", "normal"), "delivery_options.priority"),
        timeout_ms=(
            None
            if timeout is None
            else MessageTimeoutMs.parse(timeout, "delivery_options.timeout_ms")
        ),
        require_receipt=receipt,
        max_retries=MaxRetries.parse(
            value.get("max_retries", default.max_retries), "delivery_options.max_retries"
        ),
    )


def _trace(value: object) -> TraceContext | None:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise ValidationError(field="trace_context", value=value, allowed="an object")
    _known(value, frozenset({"traceparent"}), "trace_context.")
    return parse_traceparent(value.get("traceparent"), "trace_context.traceparent")


def _text(body: Mapping[str, object], name: str) -> str | None:
    value = body.get(name)
    if value is None or isinstance(value, str):
        return value
    raise ValidationError(field=name, value=value, allowed="text")


def _id(body: Mapping[str, object], name: str) -> bytes | None:
    value = body.get(name)
    return None if value is None else parse_id(value, name)


def from_json(
    body: object,
    *,
    sender: bytes | None = None,
    max_content: int = MAX_CONTENT,
    options: DeliveryOptions = DEFAULT_OPTIONS,
) -> Message:
    """Read a message from its JSON form; unknown fields are refused with the nearest known one.

    ``sender`` is the identity to use when the body names none, ``options`` count where it says
    nothing of them.

    Raises:
        ValidationError: it names the first field that is wrong, its value and what is allowed.
        MessageTooLarge: the content is over ``max_content`` bytes.
    """
    if not isinstance(body, Mapping):
        raise ValidationError(field="body", value=type(body).__name__, allowed="a JSON object")
    _known(body, FIELDS)
    given_sender = _id(body, "sender") or sender
    if given_sender is None:
        raise ValidationError(field="sender", value="nothing", allowed="an agent id")
    created = body.get("created_at")
    reply_by = body.get("reply_by")
    return make_message(
        parse_performative(body.get("performative", "request")),
        sender=given_sender,
        receiver=_id(body, "receiver"),
        capability=_text(body, "capability"),
        content=_content(body),
        conversation_id=_id(body, "conversation_id"),
        message_id=_id(body, "message_id"),
        created_at=None if created is None else parse_time(created, "created_at"),
        reply_with=_id(body, "reply_with"),
        in_reply_to=_id(body, "in_reply_to"),
        reply_by=None if reply_by is None else parse_time(reply_by, "reply_by"),
        language=_text(body, "language"),
        ontology=_text(body, "ontology"),
        protocol=_text(body, "protocol"),
        trace_context=_trace(body.get("trace_context")),
        delivery_options=_options(body.get("delivery_options"), options),
        parent_conversation_id=_id(body, "parent_conversation_id"),
        max_content=max_content,
    )
