"""Priority lanes: several queues that are emptied in their order, stable within each.

A mailbox with one lane uses a plain deque; this has the same methods, so that the code which
takes messages out need not know.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from pykka._envelope import Envelope
from pykka.messages import _ActorStop

from actors.mailbox.fence import Fence

__all__ = ["Lanes"]

logger = logging.getLogger("actors")


class Lanes:
    """Queues by priority.

    Args:
        count: number of lanes.
        priority: the lane of a message, 0 first.
    """

    __slots__ = ("_lanes", "_priority")

    def __init__(self, count: int, priority: Callable[[Any], int]) -> None:
        lanes: list[deque[Envelope[Any]]] = [deque() for _ in range(count)]
        self._lanes = tuple(lanes)
        self._priority = priority

    def _lane(self, envelope: Envelope[Any]) -> deque[Envelope[Any]]:
        message = envelope.message
        last = len(self._lanes) - 1
        if type(message) is _ActorStop or type(message) is Fence:
            # It stands behind everything told before it, whatever the lane of that.
            return self._lanes[last]
        try:
            number = self._priority(getattr(message, "inner", message))
        except Exception:
            logger.exception("the priority of a %s is unknown", type(message).__name__)
            number = last
        return self._lanes[min(max(number, 0), last)]

    def append(self, envelope: Envelope[Any]) -> None:
        """Put a message behind those of its lane."""
        self._lane(envelope).append(envelope)

    def appendleft(self, envelope: Envelope[Any]) -> None:
        """Put a message before those of its lane."""
        self._lane(envelope).appendleft(envelope)

    def extendleft(self, envelopes: Iterable[Envelope[Any]]) -> None:
        """Put each message before those of its lane, one after the other."""
        for envelope in envelopes:
            self.appendleft(envelope)

    def popleft(self) -> Envelope[Any]:
        """Take the next message; raises ``IndexError`` when there is none."""
        for lane in self._lanes:
            if lane:
                return lane.popleft()
        raise IndexError("no message waits")

    def oldest(self) -> Envelope[Any]:
        """Take the oldest message of the last lane that has one.

        Raises:
            IndexError: there is none.
        """
        for number in range(len(self._lanes) - 1, -1, -1):
            if self._lanes[number]:
                return self._lanes[number].popleft()
        raise IndexError("no message waits")

    def __len__(self) -> int:
        return sum(map(len, self._lanes))

    def __bool__(self) -> bool:
        return any(self._lanes)

    def __iter__(self) -> Iterator[Envelope[Any]]:
        for lane in self._lanes:
            yield from lane
