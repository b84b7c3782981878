"""The dead letters of a shard, for those who look after them: list, read, try again, discard."""

from __future__ import annotations

from collections.abc import Callable

from caxton.agents.directory import Directory
from caxton.errors import DeadLetterNotFound
from caxton.message import decode, to_json
from caxton.moments import format_time
from caxton.storage.journal import Journal
from caxton.storage.records import DeadRecord
from caxton.types import format_id
from caxton.views import DeadLetterDetail, DeadLetterView

__all__ = ["DeadLetterDesk"]


class DeadLetterDesk:
    """See the module.

    Args:
        shard: its number, the first part of each letter's id.
        journal: where they are.
        directory: names of agents.
        again: accepts the message of a letter once more; the letter goes with that commit.
        discard: removes a letter with the next commit.
    """

    def __init__(
        self,
        shard: int,
        journal: Journal,
        directory: Directory,
        again: Callable[[DeadRecord], None],
        discard: Callable[[int], None],
    ) -> None:
        self._shard = shard
        self._journal = journal
        self._directory = directory
        self._again = again
        self._discard = discard

    def newest(self, limit: int) -> list[DeadLetterView]:
        """At most ``limit`` letters, the latest first."""
        return [self._view(record) for record in self._journal.dead_newest(limit)]

    def detail(self, sequence: int) -> DeadLetterDetail:
        """One letter with its message and traceback.

        Raises:
            DeadLetterNotFound: it is not kept here.
        """
        record = self._known(sequence)
        message = to_json(decode(record.message))
        return DeadLetterDetail(self._view(record), record.traceback, message)

    def retry(self, sequence: int) -> DeadLetterView:
        """Have its message handled once more, with all its tries.

        Raises:
            DeadLetterNotFound: it is not kept here.
        """
        record = self._known(sequence)
        view = self._view(record)
        self._again(record)
        return view

    def discard(self, sequence: int) -> DeadLetterView:
        """Remove it for good.

        Raises:
            DeadLetterNotFound: it is not kept here.
        """
        view = self._view(self._known(sequence))
        self._discard(sequence)
        return view

    def _known(self, sequence: int) -> DeadRecord:
        record = self._journal.dead(sequence)
        if record is None:
            raise DeadLetterNotFound(letter=f"{self._shard}-{sequence}")
        return record

    def _view(self, record: DeadRecord) -> DeadLetterView:
        message = decode(record.message)
        receiver = message.receiver
        return DeadLetterView(
            id=f"{self._shard}-{record.sequence}",
            at=format_time(record.at),
            reason=record.reason,
            detail=record.detail,
            attempts=record.attempts,
            performative=message.performative.value,
            sender=self._directory.name(message.sender),
            receiver=self._directory.name(receiver) if receiver else "",
            capability=message.capability or "",
            message_id=format_id(message.message_id),
            conversation_id=format_id(message.conversation_id),
            size=len(message.content),
            shard=self._shard,
        )
