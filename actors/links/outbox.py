"""The sending half of a link: frames that wait, and frames that are sent and not confirmed."""

from __future__ import annotations

from collections import deque
from collections.abc import Container
from typing import NamedTuple

from actors.links.frame import encode_frame
from actors.links.hello import VOID, LinkCounters, Window

__all__ = ["Outbox"]


class _Sent(NamedTuple):
    number: int
    data: bytes
    messages: int


class Outbox:
    """See the module. Numbers go up by one from frame to frame.

    Args:
        counters: what is sent is counted there.
    """

    __slots__ = ("_counters", "_unconfirmed", "_waiting", "messages", "sent", "size", "unsent_size")

    def __init__(self, counters: LinkCounters) -> None:
        self.sent = 0
        """The highest number sent."""
        self.size = 0
        """Bytes sent and not confirmed."""
        self.messages = 0
        """Messages sent and not confirmed."""
        self.unsent_size = 0
        """Bytes that wait to be sent."""
        self._counters = counters
        self._waiting: deque[_Sent] = deque()
        self._unconfirmed: deque[_Sent] = deque()

    def first(self, otherwise: int) -> int:
        """The lowest number that is not confirmed, or ``otherwise`` when all are."""
        if self._unconfirmed:
            return self._unconfirmed[0].number
        return self._waiting[0].number if self._waiting else otherwise

    def add(self, number: int, data: bytes, messages: int) -> None:
        """Have a frame wait."""
        self._waiting.append(_Sent(number, data, messages))
        self.unsent_size += len(data)

    def take(self, granted: Window) -> list[bytes]:
        """What the window allows to send now; at least one frame when nothing is under way."""
        counters, waiting, unconfirmed = self._counters, self._waiting, self._unconfirmed
        parts: list[bytes] = []
        while waiting and (
            not unconfirmed
            or (
                len(unconfirmed) < granted.frames
                and self.size < granted.size
                and self.messages < granted.messages
            )
        ):
            one = waiting.popleft()
            size = len(one.data)
            self.unsent_size -= size
            self.size += size
            self.messages += one.messages
            counters.sent_messages += one.messages
            counters.sent_bytes += size
            if one.number > self.sent:
                self.sent = one.number
            else:
                counters.resent += 1
            unconfirmed.append(one)
            parts.append(one.data)
        counters.sent_frames += len(parts)
        return parts

    def confirm(self, number: int) -> None:
        """Forget what the other side has up to a number."""
        unconfirmed = self._unconfirmed
        while unconfirmed and unconfirmed[0].number <= number:
            one = unconfirmed.popleft()
            self.size -= len(one.data)
            self.messages -= one.messages

    def again(self) -> None:
        """Send what is not confirmed again, before anything new."""
        self._waiting.extendleft(reversed(self._unconfirmed))
        self.unsent_size += self.size
        self._unconfirmed.clear()
        self.size = self.messages = 0

    def withdraw(self, numbers: Container[int]) -> None:
        """Have frames that wait go out without their content; their numbers stay."""
        kept: deque[_Sent] = deque()
        for one in self._waiting:
            if one.number in numbers:
                self.unsent_size -= len(one.data)
                one = _Sent(one.number, encode_frame(VOID, one.number, b"", 0), 0)
                self.unsent_size += len(one.data)
            kept.append(one)
        self._waiting = kept
