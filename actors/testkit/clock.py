"""A clock that moves when a test says so, and brings timers with it."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

__all__ = ["ManualClock", "ManualTimer"]


class ManualTimer:
    """A call that comes when its clock gets there."""

    __slots__ = ("_clock", "callback", "when")

    def __init__(self, clock: ManualClock, when: float, callback: Callable[[], None]) -> None:
        self._clock = clock
        self.when = when
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """It comes no more."""
        if self.callback is not None:
            self.callback = None
            self._clock.cancelled()


class ManualClock:
    """A clock that stands still until it is moved.

    A ``CooperativeDispatcher`` or ``ActorSystem`` made with it takes its timers from it.

    Args:
        start: first value of ``now``, in seconds.
    """

    def __init__(self, start: float = 0.0) -> None:
        self._now = start
        self._timers: list[tuple[float, int, ManualTimer]] = []
        self._order = itertools.count()
        self._live = 0

    @property
    def timers(self) -> int:
        """Timers that stand."""
        return self._live

    @property
    def next_timer(self) -> float | None:
        """When the next timer is due; None when none stands."""
        while self._timers and self._timers[0][2].callback is None:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def now(self) -> float:
        """Seconds since some fixed moment."""
        return self._now

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> ManualTimer:
        """Call ``callback`` when the clock has been moved on by ``delay_s`` seconds."""
        timer = ManualTimer(self, self._now + delay_s, callback)
        heapq.heappush(self._timers, (timer.when, next(self._order), timer))
        self._live += 1
        return timer

    def cancelled(self) -> None:
        """A timer was taken back."""
        self._live -= 1

    def fire_next(self, until: float) -> bool:
        """Move to the next timer due by ``until`` and call it; False when there is none."""
        when = self.next_timer
        if when is None or when > until:
            return False
        timer = heapq.heappop(self._timers)[2]
        self._now = max(self._now, when)
        callback, timer.callback = timer.callback, None
        self._live -= 1
        if callback is not None:
            callback()
        return True

    def advance(self, seconds: float) -> int:
        """Let ``seconds`` pass: each timer is called at its own moment. Returns how many were.

        Raises ``ValueError`` for less than none.
        """
        if seconds < 0:
            raise ValueError(f"seconds: {seconds!r} given, at least 0 allowed")
        until = self._now + seconds
        fired = 0
        while self.fire_next(until):
            fired += 1
        self._now = until
        return fired
