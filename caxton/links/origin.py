"""The receiving side of submissions: collects what a shard owes to one link into few frames."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from caxton.errors import CaxtonError
from caxton.links.chunks import chunks
from caxton.links.wire import Acked, Refused, Replies
from caxton.message import Message

__all__ = ["LinkOrigin"]


class LinkOrigin:
    """An ``Origin`` that answers over a link: one frame of each kind per turn of the loop."""

    def __init__(self, send: Callable[[msgspec.Struct], None]) -> None:
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._disk = False
        self._references: list[int] = []
        self._duplicates: list[int] = []
        self._refused: list[tuple[int, str, dict[str, object]]] = []
        self._replies: list[msgspec.Raw] = []
        self._scheduled = False

    def acked(self, references: Sequence[int], *, disk: bool) -> None:
        """Runs of references (first, count, ...) are in the journal."""
        self._disk = disk
        self._references.extend(references)
        self._schedule()

    def duplicate(self, references: Sequence[int], *, disk: bool) -> None:
        """These had been accepted before."""
        self._disk = disk
        self._duplicates.extend(references)
        self._schedule()

    def refused(self, reference: int, error: CaxtonError) -> None:
        """Nothing was done for this one."""
        self._refused.append((reference, error.code, error.fields))
        self._schedule()

    def replied(self, raw: bytes, message: Message) -> None:
        """A committed message that answers one of this link's."""
        self._replies.append(msgspec.Raw(raw))
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        if self._references or self._duplicates:
            self._send(Acked(self._disk, self._references, self._duplicates))
            self._references, self._duplicates = [], []
        if self._refused:
            self._send(Refused(self._refused))
            self._refused = []
        if self._replies:
            replies, self._replies = self._replies, []
            for part in chunks(replies, _size):
                self._send(Replies(list(part)))


def _size(raw: msgspec.Raw) -> int:
    return len(memoryview(raw))
