"""Many due times on one timer of the event loop."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["Due"]

T = TypeVar("T")


class Due(Generic[T]):
    """Items that come up at their times, the earliest first.

    There is one heap and one timer, however many items wait. An item that is no longer wanted is
    let come up and ignored by its owner.

    Args:
        come: called with each item when its time has come.
    """

    def __init__(self, come: Callable[[T], None]) -> None:
        self._come = come
        self._heap: list[tuple[float, int, T]] = []
        self._made = 0
        self._timer: asyncio.TimerHandle | None = None
        self._set_for = 0.0

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, delay_s: float, item: T) -> None:
        """Have ``item`` come up in ``delay_s`` seconds."""
        loop = asyncio.get_running_loop()
        at = loop.time() + max(0.0, delay_s)
        self._made += 1
        heapq.heappush(self._heap, (at, self._made, item))
        if self._timer is None or at < self._set_for:
            self._set(loop)

    def _set(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._heap:
            self._set_for = self._heap[0][0]
            self._timer = loop.call_at(self._set_for, self._ring)

    def _ring(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        # The loop rings up to a clock tick early; what is set for this ring has come.
        now = max(loop.time(), self._set_for)
        heap = self._heap
        try:
            while heap and heap[0][0] <= now:
                self._come(heapq.heappop(heap)[2])
        finally:
            if self._timer is None:
                self._set(loop)

    def close(self) -> None:
        """Let nothing come up any more."""
        self._heap.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
