"""Admission: what may enter a shard. The first stage; whatever it refuses changes nothing."""

from __future__ import annotations

import math

from caxton.agents.directory import Directory
from caxton.errors import (
    CaxtonError,
    MessageTooLarge,
    NotAuthorized,
    QueueFull,
    RateLimited,
    StorageError,
)
from caxton.message import Message
from caxton.storage.journal import Journal
from caxton.types import format_id

__all__ = ["Admission", "Buckets", "RecentIds"]


class RecentIds:
    """The message ids that were accepted last, at least ``window`` of them.

    Two generations of sets: when the young one is full it becomes the old one, so the memory is
    bounded and no id is forgotten one by one.
    """

    def __init__(self, window: int) -> None:
        self._window = window
        self.young: set[bytes] = set()
        self.old: set[bytes] = set()

    def __len__(self) -> int:
        return len(self.young) + len(self.old)

    def __contains__(self, message_id: bytes) -> bool:
        return message_id in self.young or message_id in self.old

    def add(self, message_id: bytes) -> None:
        """Remember an id."""
        if len(self.young) >= self._window:
            self.old = self.young
            self.young = set()
        self.young.add(message_id)


class Buckets:
    """Token buckets of senders: ``rate`` messages a second, ``burst`` of them at once.

    A sender that rests gets its tokens when it comes again, so nothing runs meanwhile. There is a
    bucket for each registered sender at most.

    Args:
        rate: at least 1.
        burst: at least 1.
    """

    def __init__(self, rate: int, burst: int) -> None:
        self.rate = rate
        self._burst = float(burst)
        self._left: dict[bytes, tuple[float, float]] = {}
        """Sender to its tokens and when it had them."""

    def take(self, sender: bytes, now: float) -> float:
        """Take a token; seconds until there is one when there is none now, else 0."""
        left, since = self._left.get(sender, (self._burst, now))
        left = min(self._burst, left + (now - since) * self.rate)
        if left < 1.0:
            self._left[sender] = (left, now)
            return (1.0 - left) / self.rate
        self._left[sender] = (left - 1.0, now)
        return 0.0


class Admission:
    """Decides whether a message may enter.

    Args:
        directory: the registered senders.
        journal: knows how many messages are pending.
        max_content: bytes of a message's content.
        max_pending: messages that may be accepted and not handled.
        window: message ids that are recognised.
        buckets: what each sender may send; None for as much as it likes.
    """

    def __init__(
        self,
        directory: Directory,
        journal: Journal,
        *,
        max_content: int,
        max_pending: int,
        window: int,
        buckets: Buckets | None = None,
    ) -> None:
        self.buckets = buckets
        self.recent = RecentIds(window)
        self.max_content = max_content
        self.max_pending = max_pending
        self._directory = directory
        self._agents = directory.agents
        self._clients = directory.clients
        self._journal = journal
        self._unmarked = journal.unmarked

    def refusal(
        self, message: Message, storage: StorageError | None, now: float
    ) -> CaxtonError | None:
        """Why ``message`` may not enter at ``now`` (monotonic seconds); None when it may."""
        if len(message.content) > self.max_content:
            return MessageTooLarge(
                field="content", size=len(message.content), limit=self.max_content
            )
        sender = message.sender
        if (
            sender not in self._clients
            and sender not in self._agents
            and not self._directory.known(sender)
        ):
            return NotAuthorized(
                who=f"sender {format_id(sender)}",
                action="send: it is neither an agent nor a client of this node",
            )
        if storage is not None:
            return storage
        if len(self._unmarked) >= self.max_pending:
            return QueueFull(queue="the shard", depth=self._journal.pending, limit=self.max_pending)
        if self.buckets is not None:
            wait_s = self.buckets.take(sender, now)
            if wait_s:
                return RateLimited(
                    sender=self._directory.name(sender),
                    limit=self.buckets.rate,
                    retry_after_ms=math.ceil(wait_s * 1_000),
                )
        return None
