"""Messages as a client writes and reads them: the REST form, and the reply to a request."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, TypedDict, Unpack

import msgspec
import orjson

from caxton.errors import ValidationError
from caxton.message import DeliveryOptions, Message, Performative, from_json, to_json
from caxton.types import format_id, new_id, parse_id
from caxton.views import Ack

__all__ = ["Body", "Fields", "Reply", "complete", "draft", "dump", "id_text"]

Body = Mapping[str, Any]
"""A message in its REST form, as ``draft`` makes it."""


class Reply(dict[str, Any]):
    """The answer to a request: the body of the REST API, and typed views of it."""

    @property
    def ack(self) -> Ack:
        """How the request was accepted."""
        return msgspec.convert({key: value for key, value in self.items() if key != "reply"}, Ack)

    @property
    def message(self) -> Message:
        """The message that answers."""
        body = dict(self["reply"])
        for name in ("sender_name", "receiver_name"):
            body.pop(name, None)
        return from_json(body)

    @property
    def performative(self) -> Performative:
        """Its act, such as INFORM or FAILURE."""
        return self.message.performative

    @property
    def content(self) -> bytes:
        """Its content."""
        return self.message.content

    @property
    def text(self) -> str:
        """Its content as text; bytes that are not UTF-8 show as U+FFFD."""
        return self.message.text

    @property
    def sender_name(self) -> str:
        """Name of the agent that answers."""
        return str(self["reply"].get("sender_name", ""))


def id_text(value: bytes | str | None, name: str) -> str:
    """An id as text; a new one for None.

    Raises:
        ValidationError: it is none.
    """
    if value is None:
        return format_id(new_id())
    if isinstance(value, bytes):
        if len(value) != 16:
            raise ValidationError(field=name, value=value, allowed="16 bytes, or a UUID's text")
        return format_id(value)
    return format_id(parse_id(value, name))


class Fields(TypedDict, total=False):
    """What may be said of a message besides its content."""

    to: str | bytes | None
    """Name or id of the receiving agent; or"""
    capability: str | None
    """what the receiver must be able to do."""
    performative: Performative | str
    """The act, in any case; REQUEST when not given."""
    conversation_id: bytes | str | None
    """The conversation to stay in; a new one when not given."""
    message_id: bytes | str | None
    """Chosen when not given; the node takes a message with a known id as a repeat."""
    in_reply_to: bytes | str | None
    """Id of the message that this one answers."""
    reply_by: str | None
    """Until when an answer is of use: an RFC 3339 time with its zone."""
    parent_conversation_id: bytes | str | None
    """The conversation that a new one branches from."""
    language: str | None
    """Of the content."""
    ontology: str | None
    """Of the content."""
    protocol: str | None
    """Of the conversation: one of docs/reference/protocols.md is checked."""
    options: DeliveryOptions | None
    """Priority, timeout, retries, receipt."""


def draft(content: bytes | str = b"", **fields: Unpack[Fields]) -> dict[str, Any]:
    """A message in its REST form, for ``send_many``; the node checks what is not checked here.

    Args:
        content: what to say.
        fields: see ``Fields``.

    Raises:
        ValidationError: not exactly one of ``to`` and ``capability``, or an id is none.
        TypeError: there is no such field.
    """
    for name in fields:
        if name not in Fields.__annotations__:
            raise TypeError(f"draft() got an unexpected keyword argument {name!r}")
    to, capability = fields.get("to"), fields.get("capability")
    act = fields.get("performative", Performative.REQUEST)
    options = fields.get("options")
    if (to is None) == (capability is None):
        given = "both" if to is not None else "neither"
        raise ValidationError(field="to", value=given, allowed="exactly one of to and capability")
    body: dict[str, Any] = {
        "performative": act.value if isinstance(act, Performative) else act,
        "message_id": id_text(fields.get("message_id"), "message_id"),
        "conversation_id": id_text(fields.get("conversation_id"), "conversation_id"),
    }
    if to is not None:
        body["receiver"] = id_text(to, "to") if isinstance(to, bytes) else to
    if isinstance(content, str):
        content = content.encode("utf-8", "surrogatepass")
    body |= _content_of(content)
    for name in ("in_reply_to", "parent_conversation_id"):
        identity: Any = fields.get(name)
        if identity is not None:
            body[name] = id_text(identity, name)
    for name, value in (
        ("capability", capability),
        ("language", fields.get("language")),
        ("ontology", fields.get("ontology")),
        ("protocol", fields.get("protocol")),
        ("reply_by", fields.get("reply_by")),
    ):
        if value is not None:
            body[name] = value
    if options is not None:
        body["delivery_options"] = {
            "priority": int(options.priority),
            "timeout_ms": options.timeout_ms,
            "require_receipt": options.require_receipt,
            "max_retries": options.max_retries,
        }
    return body


def _content_of(content: bytes) -> dict[str, str]:
    try:
        return {"content": content.decode()}
    except UnicodeDecodeError:
        return {"content_base64": base64.b64encode(content).decode()}


def complete(message: Body | Message) -> Body:
    """The REST form of a message, with the ids that make a repeat recognisable."""
    if isinstance(message, Message):
        return to_json(message)
    missing = [name for name in ("message_id", "conversation_id") if message.get(name) is None]
    return {**message, **{name: format_id(new_id()) for name in missing}} if missing else message


def dump(body: Body) -> bytes:
    """A message's REST form as bytes.

    Raises:
        ValidationError: it holds what JSON cannot.
    """
    try:
        return orjson.dumps(body)
    except TypeError as error:
        raise ValidationError(
            field="message", value=str(error), allowed="what JSON can hold"
        ) from error
