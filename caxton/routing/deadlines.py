"""Deadlines of messages: until when one may be given to its agent.

``delivery_options.timeout_ms`` counts from ``created_at``; ``reply_by`` (FIPA SC00061) is a time.
The earlier of the two holds. It is looked at when the agent would get the message, so it means the
same after waiting, after a retry, after a restart and on another shard. A message without either
has no deadline.
"""

from __future__ import annotations

from caxton.errors import Timeout
from caxton.message import Message

__all__ = ["deadline_ms", "overdue"]


def deadline_ms(message: Message) -> int:
    """Milliseconds since 1970 after which no agent gets ``message``; 0 for never."""
    timeout = message.delivery_options.timeout_ms
    by = message.reply_by
    if timeout is None:
        return by or 0
    ends = message.created_at + timeout
    return ends if by is None else min(by, ends)


def overdue(message: Message, now_ms: int) -> Timeout | None:
    """What to tell the sender of a message whose deadline has passed; None when it has not."""
    ends = deadline_ms(message)
    if not ends or now_ms < ends:
        return None
    return Timeout(what="agent took the message", timeout_ms=max(0, ends - message.created_at))
