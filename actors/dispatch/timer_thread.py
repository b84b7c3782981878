"""One thread that calls things later, for dispatchers without an event loop."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable

__all__ = ["TimerThread", "timer_thread"]

logger = logging.getLogger("actors")


class _Call:
    __slots__ = ("callback", "owner")

    def __init__(self, owner: TimerThread, callback: Callable[[], None]) -> None:
        self.owner = owner
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """It comes no more."""
        self.callback = None


class TimerThread:
    """Calls what is due on a daemon thread, which begins with the first call asked for."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._heap: list[tuple[float, int, _Call]] = []
        self._order = itertools.count()
        self._thread: threading.Thread | None = None

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> _Call:
        """Call ``callback`` after ``delay_s`` seconds, unless it is cancelled before."""
        call = _Call(self, callback)
        with self._condition:
            entry = (time.monotonic() + delay_s, next(self._order), call)
            heapq.heappush(self._heap, entry)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="actors-timers", daemon=True)
                self._thread.start()
            elif self._heap[0] is entry:
                self._condition.notify()
        return call

    def _run(self) -> None:
        while True:
            with self._condition:
                while not self._heap or self._heap[0][0] > time.monotonic():
                    self._condition.wait(
                        self._heap[0][0] - time.monotonic() if self._heap else None
                    )
                call = heapq.heappop(self._heap)[2]
            callback, call.callback = call.callback, None
            if callback is None:
                continue
            try:
                callback()
            except Exception:
                logger.exception("a timer's call failed")


timer_thread = TimerThread()
"""The one of this process."""
