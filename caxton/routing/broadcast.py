"""Broadcast: one INFORM to a capability becomes a message to each of its providers.

The copies are journaled in the same commit as the handled mark of the message they came from, so a
restart finds either the message or all of its copies. Each copy is then a message like any other:
delivered, tried again and settled by itself. Its id follows from the message and the provider, so
that making it twice makes one.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from caxton.conversations.record import ConversationRecord
from caxton.errors import ProtocolViolation
from caxton.message import Message, TraceContext
from caxton.types import format_id, named_id

__all__ = ["copies", "too_many"]


def copies(
    message: Message, providers: Sequence[bytes], trace_context: TraceContext | None
) -> list[Message]:
    """A copy of ``message`` for each provider; replies to them answer ``message``."""
    answered = message.reply_with or message.message_id
    return [
        msgspec.structs.replace(
            message,
            message_id=named_id(message.message_id, provider.hex()),
            receiver=provider,
            capability=None,
            reply_with=answered,
            trace_context=trace_context,
        )
        for provider in providers
    ]


def too_many(
    message: Message, record: ConversationRecord, providers: Sequence[bytes], limit: int
) -> ProtocolViolation | None:
    """Why ``message`` is copied for nobody: the conversation would get over its limit."""
    total = len({*record.participants, *providers})
    if total <= limit:
        return None
    return ProtocolViolation(
        performative=message.performative.value,
        conversation=format_id(message.conversation_id),
        rule=f"a broadcast would bring it to {total} participants, at most {limit} are allowed",
    )
