"""What the node itself tells senders: FAILURE, NOT_UNDERSTOOD, and receipts."""

from __future__ import annotations

import orjson

from caxton.errors import CaxtonError
from caxton.message import Message, Performative, make_message
from caxton.observe.tracing import OFF, Tracing
from caxton.routing.reasons import failure_content
from caxton.types import derived_id, format_id

__all__ = ["Answers", "failure_id"]

_QUIET = frozenset({Performative.FAILURE, Performative.NOT_UNDERSTOOD})
"""Acts about failures: no FAILURE answers a failure."""
_FAILURE = 1 << 32
"""Keeps clear of the ids of an agent's own replies to the same message."""
_RECEIPT = _FAILURE + 1


def failure_id(message_id: bytes) -> bytes:
    """The id of the node's FAILURE about a message: there is one, whatever comes to it first."""
    return derived_id(message_id, _FAILURE)


class Answers:
    """Makes the node's answers; the same one for the same message each time.

    Args:
        identity: who the node is as a sender.
        tracing: the trace that an answer belongs to.
    """

    def __init__(self, identity: bytes, tracing: Tracing = OFF) -> None:
        self._identity = identity
        self._tracing = tracing

    def about(
        self, to: Message, act: Performative, error: CaxtonError, *, sampled: bool = False
    ) -> list[Message]:
        """What the sender of ``to`` is told of ``error``: one message, or nothing when ``to`` is
        about a failure itself or comes from the node. It is traced when ``to`` is ``sampled``."""
        if to.performative in _QUIET or to.sender == self._identity:
            return []
        return [self._answer(to, act, failure_content(error, to.message_id), _FAILURE, sampled)]

    def receipt(self, to: Message, *, sampled: bool = False) -> list[Message]:
        """CONFIRM that ``to`` was handled; nothing when it comes from the node."""
        if to.sender == self._identity:
            return []
        content = orjson.dumps({"handled": format_id(to.message_id)})
        return [self._answer(to, Performative.CONFIRM, content, _RECEIPT, sampled)]

    def _answer(
        self, to: Message, act: Performative, content: bytes, index: int, sampled: bool
    ) -> Message:
        return make_message(
            act,
            sender=self._identity,
            receiver=to.sender,
            content=content,
            conversation_id=to.conversation_id,
            message_id=derived_id(to.message_id, index),
            in_reply_to=to.reply_with or to.message_id,
            language="application/json",
            protocol=to.protocol,
            trace_context=self._tracing.passed_on(to, sampled=sampled),
        )
