"""Admission: what may enter a shard. The first stage; whatever it refuses changes nothing."""

from __future__ import annotations

from caxton.agents.directory import Directory
from caxton.errors import CaxtonError, MessageTooLarge, NotAuthorized, QueueFull, StorageError
from caxton.message import Message
from caxton.storage.journal import Journal
from caxton.types import format_id

__all__ = ["Admission", "RecentIds"]


class RecentIds:
    """The message ids that were accepted last, at least ``window`` of them.

    Two generations of sets: when the young one is full it becomes the old one, so the memory is
    bounded and no id is forgotten one by one.
    """

    def __init__(self, window: int) -> None:
        self._window = window
        self._young: set[bytes] = set()
        self._old: set[bytes] = set()

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def __contains__(self, message_id: bytes) -> bool:
        return message_id in self._young or message_id in self._old

    def add(self, message_id: bytes) -> None:
        """Remember an id."""
        if len(self._young) >= self._window:
            self._old = self._young
            self._young = set()
        self._young.add(message_id)


class Admission:
    """Decides whether a message may enter."""

    def __init__(
        self,
        directory: Directory,
        journal: Journal,
        *,
        max_content: int,
        max_pending: int,
        window: int,
    ) -> None:
        self.recent = RecentIds(window)
        self.max_content = max_content
        self.max_pending = max_pending
        self._directory = directory
        self._journal = journal

    def refusal(self, message: Message, storage: StorageError | None) -> CaxtonError | None:
        """Why ``message`` may not enter; None when it may."""
        if len(message.content) > self.max_content:
            return MessageTooLarge(
                field="content", size=len(message.content), limit=self.max_content
            )
        if not self._directory.known(message.sender):
            return NotAuthorized(
                who=f"sender {format_id(message.sender)}",
                action="send: it is neither an agent nor a client of this node",
            )
        if storage is not None:
            return storage
        if self._journal.pending >= self.max_pending:
            return QueueFull(queue="the shard", depth=self._journal.pending, limit=self.max_pending)
        return None
